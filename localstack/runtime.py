"""The Lambda runtime for Python handlers, over the Runtime API."""

import http.client
import importlib
import json
import os
import sys
import time
import traceback


def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        connection.request(method, "/2018-06-01/runtime/" + path, body)
        response = connection.getresponse()
        return response.headers, response.read()
    finally:
        connection.close()


def describe(error):
    traceback.print_exc()
    return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error),
                       "stackTrace": traceback.format_tb(error.__traceback__)})


class Context:
    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.deadline = int(headers["Lambda-Runtime-Deadline-Ms"])
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")

    def get_remaining_time_in_millis(self):
        return max(0, self.deadline - int(time.time() * 1000))


sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
try:
    module, name = os.environ["_HANDLER"].rsplit(".", 1)
    handler = getattr(importlib.import_module(module.replace("/", ".")), name)
except Exception as error:
    call("POST", "init/error", describe(error))
    sys.exit(1)
while True:
    try:
        headers, event = call("GET", "invocation/next")
        invocation = "invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
    except (OSError, http.client.HTTPException, TypeError):
        sys.exit(0)  # the emulator has ended
    try:
        call("POST", invocation + "/response", json.dumps(handler(json.loads(event), Context(headers))))
    except Exception as error:
        call("POST", invocation + "/error", describe(error))
