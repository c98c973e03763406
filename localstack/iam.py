"""Runs MiniStack with its IAM policies in force: `python iam.py`, with the environment that scripts/localstack sets.

MiniStack 1.5.33 evaluates the policies of roles and of resources where AUTH=true, but for three things of which this bus makes use:

- the keys of the rows that a DynamoDB request names (dynamodb:LeadingKeys), by which a bot is kept to its own row;
- the right to a PartiQL statement in a batch, which AWS asks for under the statement's own name (dynamodb:PartiQLUpdate);
- TLS, which buckets and queues of the bus demand. Here requests are plain HTTP on 127.0.0.1, and count as safe.
"""

import functools
import json
import re

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import dynamodb

LEADING = "dynamodb:LeadingKeys"
STATEMENT = re.compile(r'\s*(SELECT|UPDATE|INSERT|DELETE)\b[^"]*"((?:[^"]|"")+)"', re.IGNORECASE)
HASH_EQUALS = re.compile(r"([#\w]+)\s*=\s*(:\w+)")


def request_of(body):
    try:
        data = json.loads(body or b"{}")
    except (ValueError, TypeError):
        return {}
    return data if isinstance(data, dict) else {}


def leading_keys(data):
    """The hash keys of the rows that a request names, by table. Requests that name none, such as scans, have no entry."""
    found = {}

    def note(table, row):
        schema = dynamodb._tables.get(table)
        value = (row or {}).get(schema["pk_name"]) if schema else None
        if isinstance(value, dict):
            found.setdefault(table, []).extend(str(v) for v in value.values())

    table = data.get("TableName")
    for member in ("Key", "Item"):
        note(table, data.get(member))
    names, values = data.get("ExpressionAttributeNames") or {}, data.get("ExpressionAttributeValues") or {}
    for name, value in HASH_EQUALS.findall(data.get("KeyConditionExpression") or ""):
        note(table, {names.get(name, name): values.get(value)})
    for table, items in (data.get("RequestItems") or {}).items():
        if isinstance(items, dict):  # A read.
            for key in items.get("Keys") or []:
                note(table, key)
            continue
        for write in items or []:
            note(table, (write.get("PutRequest") or {}).get("Item"))
            note(table, (write.get("DeleteRequest") or {}).get("Key"))
    return found


def wrap(module, name):
    """Replaces a function of a module by one that gets the old one first."""

    def apply(new):
        old = getattr(module, name)
        setattr(module, name, functools.wraps(old)(functools.partial(new, old)))

    return apply


@wrap(iam_actions, "dynamodb_service_context")
def service_context(old, body):
    return {**old(body), LEADING: leading_keys(request_of(body))}


@wrap(iam_actions, "dynamodb_transaction_checks")
def checks(old, action, body, region, account):
    if action != "dynamodb:BatchExecuteStatement":
        return old(action, body, region, account)
    found = []
    for statement in request_of(body).get("Statements") or []:
        match = STATEMENT.match(statement.get("Statement") or "")
        if match:
            table = match.group(2).replace('""', '"')
            found.append(("dynamodb:PartiQL" + match.group(1).capitalize(), iam_actions._dynamodb_table_arn(table, region, account)))
    return found


@wrap(iam_evaluator, "enforce")
def enforce(old, key, action, service, *args, **more):
    context = more.get("service_context")
    if service == "dynamodb" and context is not None:
        context = dict(context)
        keys = (context.pop(LEADING, None) or {}).get(more.get("resource_arn", "").partition(":table/")[2].partition("/")[0])
        if keys:
            context[LEADING] = context[LEADING.lower()] = keys
        more["service_context"] = context
    return old(key, action, service, *args, **more)


@wrap(app, "pin_request_origin")
def pin_request_origin(old, address, secure):
    return old(address, True)


if __name__ == "__main__":
    app.main()
