"""Runs Lambda functions of LocalStack as child processes of it, over the Lambda Runtime API, without containers.

One Executor is one execution environment: a process that handles one invocation after the other. Programs for `provided`
runtimes (Go) are started as they are; Python and Node handlers through the small runtimes beside this file.
"""

import http.server
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

from localstack import config
from localstack.services.lambda_.invocation.executor_endpoint import StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
API = "/2018-06-01/runtime/"


def failure(kind, message):
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


class RuntimeAPI(http.server.BaseHTTPRequestHandler):
    """What the function's process talks to (GET .../invocation/next, POST .../invocation/ID/response and so on)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path != API + "invocation/next":
            return self.answer(404)
        environment = self.server.environment
        environment.events.put(("ready", None, None, False))
        work = environment.work.get()
        if work is None:  # the environment ends
            self.close_connection = True
            return
        payload, deadline = work
        self.answer(
            200, payload["payload"].encode(), Content_Type="application/json",
            Lambda_Runtime_Aws_Request_Id=payload["invoke-id"], Lambda_Runtime_Deadline_Ms=str(deadline),
            Lambda_Runtime_Invoked_Function_Arn=payload["invoked-function-arn"],
            Lambda_Runtime_Trace_Id=payload.get("trace-id") or "")

    def do_POST(self):
        body = self.body()
        part = self.path.removeprefix(API).split("/")
        if part == ["init", "error"]:
            self.server.environment.events.put(("init", None, body, True))
        elif len(part) == 3 and part[0] == "invocation" and part[2] in ("response", "error"):
            self.server.environment.events.put(("done", part[1], body, part[2] == "error"))
        else:
            return self.answer(404)
        self.answer(202, b'{"status":"OK"}', Content_Type="application/json")

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Executor(RuntimeExecutor):
    def start(self, env_vars):
        self.env_vars = env_vars
        self.history = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeAPI)
        self.server.daemon_threads = True
        self.server.environment = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self.spawn()

    def command(self, code):
        function = self.function_version.config
        runtime = function.runtime or ""
        if runtime.startswith("provided") or runtime == "go1.x":
            program = os.path.join(code, "bootstrap")
            if not os.path.exists(program):
                raise StatusErrorException("no bootstrap", payload=failure(
                    "Runtime.InvalidEntrypoint", f"the code of {self.function_version.id.function_name} has no file named bootstrap"))
            os.chmod(program, 0o755)
            return [program]
        if runtime.startswith("python"):
            return [sys.executable, "-u", os.path.join(HERE, "runtime.py")]
        if runtime.startswith("nodejs"):
            return ["node", os.path.join(HERE, "runtime.mjs")]
        raise StatusErrorException("unknown runtime", payload=failure(
            "Runtime.Unsupported", f"runtime {runtime} is not supported without Docker; use provided.al2023, python or nodejs"))

    def spawn(self):
        code = str(self.function_version.config.code.get_unzipped_code_location())
        command = self.command(code)
        # What a function sees on AWS, and no more of this process's own environment than a program needs to run.
        env = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
        env.update({name: str(value) for name, value in self.env_vars.items()})
        env.update(PATH=os.environ["PATH"], LAMBDA_TASK_ROOT=code, AWS_LAMBDA_RUNTIME_API=f"127.0.0.1:{self.server.server_port}")
        self.work, self.events, self.lines = queue.SimpleQueue(), queue.SimpleQueue(), []
        self.process = subprocess.Popen(
            command, cwd=code, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        threading.Thread(target=self.watch, args=(self.process, self.events, self.lines), daemon=True).start()
        kind, _, body, _ = self.next_event(config.LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT)
        if kind != "ready":
            self.kill()
            tail = "\n".join(self.lines[-20:])
            raise StatusErrorException(f"the function did not start: {tail}", payload=body or failure(
                "Sandbox.Timedout" if kind == "timeout" else "Runtime.ExitError", f"the function did not start: {tail}"))

    def watch(self, process, events, lines):
        for line in process.stdout:
            lines.append(line.decode("utf-8", "replace").rstrip("\n"))
        events.put(("exit", None, failure("Runtime.ExitError", f"Runtime exited with error: exit status {process.wait()}"), True))

    def next_event(self, seconds):
        try:
            return self.events.get(timeout=max(seconds, 0))
        except queue.Empty:
            return ("timeout", None, None, True)

    def invoke(self, payload):
        if self.process.poll() is not None:
            self.spawn()
        function = self.function_version.config
        request, began = payload["invoke-id"], time.time()
        self.work.put((payload, int((began + function.timeout) * 1000)))
        while True:
            kind, answered, body, failed = self.next_event(began + function.timeout - time.time())
            if kind in ("exit", "timeout") or kind == "done" and answered == request:
                break
        if kind == "timeout":
            body = failure("Sandbox.Timedout", f"RequestId: {request} Error: Task timed out after {function.timeout:.2f} seconds")
            self.kill()
        time.sleep(0.005)  # what the function printed last may still be in the pipe
        took = (time.time() - began) * 1000
        lines = self.lines[:]
        del self.lines[:len(lines)]
        text = "\n".join([
            f"START RequestId: {request} Version: {self.function_version.id.qualifier}", *lines,
            f"END RequestId: {request}", f"REPORT RequestId: {request}\tDuration: {took:.2f} ms\tMemory Size: {function.memory_size} MB"])
        self.history = [*self.history[-99:], text]
        return InvocationResult(request, body, is_error=failed, logs=text)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.work.put(None)  # ends the request that waits for work

    def stop(self):
        self.kill()
        self.server.shutdown()
        self.server.server_close()

    def get_address(self):
        return "127.0.0.1"

    get_endpoint_from_executor = get_address

    def get_runtime_endpoint(self):
        return f"http://127.0.0.1:{config.GATEWAY_LISTEN[0].port}/_localstack_lambda/{self.id}"

    def get_logs(self):
        return "\n".join(self.history)

    @classmethod
    def prepare_version(cls, function_version):
        if function_version.config.code:
            function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version):
        pass
