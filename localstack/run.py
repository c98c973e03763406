"""Runs LocalStack without Docker: `python run.py`, with the environment that scripts/localstack sets.

LocalStack downloads DynamoDB Local and a Kinesis emulator from addresses of its own, and starts Lambda functions in containers.
Here both come from RSTREAMS_LOCALSTACK_LIB, where scripts/localstack put them, functions are child processes (executor.py), and custom
resources of stacks are served (custom.py). What is replaced is replaced in memory: the installed packages stay as they are.
"""

import functools
import os

from twisted.internet import endpoints

# LocalStack listens on every interface, whatever GATEWAY_LISTEN says, and there is no authentication.
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")

from localstack.services.dynamodb.packages import DynamoDBLocalPackageInstaller
from localstack.services.dynamodb.server import DynamodbServer
from localstack.services.kinesis.packages import KinesisMockNodePackageInstaller
from localstack.services.lambda_.invocation import runtime_executor

import custom  # noqa: F401: it registers itself
from executor import Executor

LIB = os.environ["RSTREAMS_LOCALSTACK_LIB"]


def dynamodb_command(server):
    jars = os.path.join(LIB, "dynamodb")
    return [
        "java", f"-Xmx{server.heap_size}", f"-Djava.library.path={jars}", "-cp", os.path.join(jars, "*"),
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-port", str(server.port), "-inMemory",
    ]


class OnlyExecutor:
    """Stands in for the manager of LocalStack's executor plugins."""

    def exists(self, name):
        return True

    def load(self, name=None):
        return self if name else Executor


DynamodbServer._create_shell_command = dynamodb_command
DynamoDBLocalPackageInstaller.install = lambda self, *args: None
DynamoDBLocalPackageInstaller.get_java_env_vars = lambda self: {}
KinesisMockNodePackageInstaller._get_install_dir = lambda self, target: os.path.join(LIB, "kinesis")
runtime_executor.EXECUTOR_PLUGIN_MANAGER = OnlyExecutor()

if __name__ == "__main__":
    from localstack.runtime.main import main

    main()
