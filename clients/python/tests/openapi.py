"""Holds the client to the API's description: `openapi.py OPENAPI.JSON` says where they differ."""

from __future__ import annotations

import json
import sys
from types import NoneType
from typing import Any, get_args, get_type_hints, is_typeddict

from planfleet._operations import OPERATIONS
from planfleet.types import Task

# Operations that the client has not, each with the reason.
LEFT_OUT: dict[str, str] = {}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    described = {}
    faults = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = operation["operationId"]
            if name in described:
                faults.append(f"{name}: the name of two operations")
            described[name] = (method.upper(), path, operation)
    for name in sorted(OPERATIONS.keys() - described.keys()):
        faults.append(f"{name}: not in the description")
    for name in sorted(LEFT_OUT.keys() - described.keys() | LEFT_OUT.keys() & OPERATIONS.keys()):
        faults.append(f"{name}: left out, and not described or there all the same")
    seen: set[str] = set()
    for name, (method, path, operation) in described.items():
        if name in LEFT_OUT:
            continue
        if name not in OPERATIONS:
            faults.append(f"{name}: missing: {method} {path}")
            continue
        own = OPERATIONS[name]
        if (own.method, own.path) != (method, path):
            faults.append(f"{name}: {own.method} {own.path}, described as {method} {path}")
        query = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        # A count takes what a list does, and says that these are for lists alone.
        query -= {"order", "cursor", "limit"} if name == "count_runs" else set()
        if set(own.query) != query:
            faults.append(f"{name}: asks {sorted(own.query)}, described with {sorted(query)}")
        answer = answered(operation)
        if answer is None:
            # No body, or lines, which the description calls a text.
            if own.answer is not NoneType and not any("jsonl" in kind for kind in kinds(operation)):
                faults.append(f"{name}: answers {own.answer}, described without a body")
        elif own.answer.__name__ != answer:
            faults.append(f"{name}: answers {own.answer.__name__}, described as {answer}")
        else:
            faults += compared(own.answer, document["components"]["schemas"], seen)
    task = frozenset(document["components"]["schemas"]["Task"]["properties"])
    if Task.__optional_keys__ != task or Task.__required_keys__:
        faults.append(f"Task: differs in {sorted(Task.__optional_keys__ ^ task)}")
    if faults:
        sys.exit("\n".join(faults))
    print(json.dumps({"operations": len(OPERATIONS), "left_out": len(LEFT_OUT), "types": len(seen)}))


def successes(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [answer for status, answer in operation["responses"].items() if status.startswith("2")]


def kinds(operation: dict[str, Any]) -> list[str]:
    return [kind for answer in successes(operation) for kind in answer.get("content", {})]


def answered(operation: dict[str, Any]) -> str | None:
    """The schema of an answer: of 202 where there is one, as a run's document is another call's."""
    statuses = operation["responses"]
    answer = statuses.get("202") or successes(operation)[0]
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema["$ref"]).rsplit("/", 1)[-1] if "$ref" in schema else None


def compared(kind: Any, schemas: dict[str, Any], seen: set[str]) -> list[str]:
    """Where a type and the schema of its name differ, and those of its parts."""
    name = kind.__name__
    if name in seen:
        return []
    seen.add(name)
    if name not in schemas:
        return [f"{name}: no schema"]
    required, optional = properties(schemas[name], schemas)
    faults = []
    if kind.__required_keys__ != required or kind.__optional_keys__ != optional:
        own = kind.__required_keys__ | kind.__optional_keys__
        faults.append(f"{name}: differs in {sorted(own ^ (required | optional)) or 'what is required'}")
    for part in get_type_hints(kind).values():
        for inner in parts(part):
            faults += compared(inner, schemas, seen)
    return faults


def properties(schema: dict[str, Any], schemas: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """What is always there, null or not, and what may be missing."""
    required: set[str] = set()
    optional: set[str] = set()
    for part in schema.get("allOf", [schema]):
        if "$ref" in part:
            more = properties(schemas[part["$ref"].rsplit("/", 1)[-1]], schemas)
            required |= more[0]
            optional |= more[1]
            continue
        for name, value in part.get("properties", {}).items():
            # The API leaves nothing out that can be null.
            there = name in part.get("required", []) or may_be_null(value)
            (required if there else optional).add(name)
    return frozenset(required), frozenset(optional)


def may_be_null(schema: dict[str, Any]) -> bool:
    if "$ref" in schema or "oneOf" in schema:
        return any(may_be_null(one) for one in schema.get("oneOf", []))
    return "type" not in schema or "null" in schema["type"]


def parts(kind: Any) -> list[Any]:
    if is_typeddict(kind):
        return [kind]
    return [inner for argument in get_args(kind) for inner in parts(argument)]


main()
