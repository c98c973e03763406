"""Custom resources in CloudFormation stacks, which LocalStack 4.14 passes over: their service, a Lambda function, is asked to create,
update and delete them, and its answer is waited for, as CloudFormation does.
"""

import http.server
import json
import threading
import uuid

from localstack.services.cloudformation.resource_provider import (
    OperationStatus, ProgressEvent, ResourceProvider, ResourceProviderExecutor)


class Answers(http.server.BaseHTTPRequestHandler):
    """Takes what functions put to their ResponseURL."""

    received = {}

    def log_message(self, *args):
        pass

    def do_PUT(self):
        self.received[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
threading.Thread(target=server.serve_forever, daemon=True).start()


def text(value):
    """CloudFormation hands every number and boolean over as text."""
    if isinstance(value, dict):
        return {name: text(v) for name, v in value.items()}
    if isinstance(value, list):
        return [text(v) for v in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, str) else str(value)


class CustomResource(ResourceProvider):
    SCHEMA = {"primaryIdentifier": ["/properties/PhysicalResourceId"]}
    # Properties and physical id of each resource, by stack and logical id. Nothing of LocalStack outlives its process here.
    known = {}

    def create(self, request):
        return self.ask("Create", request, text(request.desired_state))

    def update(self, request):
        return self.ask("Update", request, text(request.desired_state))

    def delete(self, request):
        properties, _ = self.known.get((request.stack_id, request.logical_resource_id), (None, None))
        if properties is None:  # it was never created
            return ProgressEvent(status=OperationStatus.SUCCESS, resource_model={})
        return self.ask("Delete", request, properties)

    def ask(self, what, request, properties):
        properties = {name: v for name, v in properties.items() if name != "PhysicalResourceId"}
        key = (request.stack_id, request.logical_resource_id)
        old, physical = self.known.get(key, (None, None))
        path = f"/{uuid.uuid4()}"
        message = {
            "RequestType": what, "ResponseURL": f"http://127.0.0.1:{server.server_port}{path}", "RequestId": path[1:],
            "StackId": request.stack_id, "LogicalResourceId": request.logical_resource_id, "ResourceType": request.resource_type,
            "ResourceProperties": properties,
        }
        if what != "Create":
            message["PhysicalResourceId"] = physical
        if what == "Update":
            message["OldResourceProperties"] = old
        returned = request.aws_client_factory.lambda_.invoke(
            FunctionName=properties["ServiceToken"], Payload=json.dumps(message).encode())
        answer = Answers.received.pop(path, None) or {
            "Status": "FAILED", "Reason": f"the function did not answer: {returned['Payload'].read()[:500]}"}
        physical = answer.get("PhysicalResourceId") or physical or request.logical_resource_id
        self.known[key] = (properties, physical)
        if answer["Status"] != "SUCCESS":
            return ProgressEvent(status=OperationStatus.FAILED, resource_model={}, message=answer.get("Reason", "no reason given"))
        if what == "Delete":
            del self.known[key]
        return ProgressEvent(
            status=OperationStatus.SUCCESS,
            resource_model={**request.desired_state, **answer.get("Data", {}), "PhysicalResourceId": physical})


others = ResourceProviderExecutor.try_load_resource_provider


def provider(resource_type):
    if resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource":
        return CustomResource()
    return others(resource_type)


ResourceProviderExecutor.try_load_resource_provider = staticmethod(provider)
