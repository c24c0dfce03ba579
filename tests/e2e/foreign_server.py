"""A tiny OpenAI-compatible server that shares no code with planfleet.

It is written from the provider's documentation, with Python's standard library, and is picky: a
request that the documentation does not allow is answered with 400. Its answers are allowed and
unusual: unknown fields, white space, and streams whose pieces end in the middle of a character.

Usage: foreign_server.py LOG   (prints its base URL; writes each request as a JSON line to LOG)

The model `foreign-large` plans and replans the harbour story; `foreign-small` carries steps out.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-foreign"


def model_step(number, description, inputs=(), criteria=()):
    return {
        "id": number,
        "description": description,
        "kind": "model",
        "tools": [],
        "inputs": [
            {"name": name, "value": None, "from_step": source, "path": ""} for name, source in inputs
        ],
        "for_each": None,
        "depends_on": [source for _, source in inputs],
        "expected_output": "",
        "success_criteria": [{"kind": kind, "arg": arg} for kind, arg in criteria],
        "tier": "default",
    }


SHIPS = [("matches", "^[0-9]+$")]
PLAN = {
    "steps": [
        model_step(1, "Name a harbour town with an umlaut."),
        model_step(2, "Count the ships in the harbour.", [("town", 1)], SHIPS),
        model_step(3, "Write the report.", [("town", 1), ("ships", 2)]),
    ],
    "final": 3,
}
REVISION = {
    "decision": "revise",
    "reason": "asks for digits now – nothing else",
    "drop": [],
    "steps": [
        model_step(4, "Count the ships. Answer in digits.", [("town", 1)], SHIPS),
        model_step(5, "Write the new report.", [("town", 1), ("ships", 4)]),
    ],
    "final": 5,
    "answer": None,
}
STEPS = [
    ("Name a harbour town", "Lübeck\n"),
    ("Answer in digits", "17"),
    ("Count the ships", "a great many"),
    ("Write the new report", "In Lübeck lie 17 ships. ⚓"),
]


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def check(condition, message, status=400):
    if not condition:
        raise Refused(status, message)


def answer_to(request):
    """The text that the model writes, or a refusal of the request."""
    messages = request.get("messages")
    check(isinstance(messages, list) and messages, "'messages' is a list that is not empty")
    for message in messages:
        check(message.get("role") in ("system", "developer", "user", "assistant", "tool"), f"role: {message}")
        check(isinstance(message.get("content"), str), f"content: {message}")
    check(messages[-1]["role"] == "user", "the last message is the user's")
    known = {
        "model", "messages", "stream", "stream_options", "response_format", "temperature", "seed",
        "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls",
    }
    check(set(request) <= known, f"unknown: {sorted(set(request) - known)}")
    # The documentation: stream_options only beside stream.
    check("stream_options" not in request or request.get("stream") is True, "stream_options without stream")
    if "tools" in request:
        check(request["tools"], "'tools' is not empty where it is given")
    text = "\n".join(message["content"] for message in messages)
    if request["model"] == "foreign-large":
        return planner_answer(request, text)
    check(request["model"] == "foreign-small", "there is no such model", 404)
    check("response_format" not in request, "no step of this story asks for JSON")
    for mark, said in STEPS:
        if mark in text:
            return said
    raise Refused(400, f"no such step: {text}")


def planner_answer(request, text):
    form = request.get("response_format", {})
    check(form.get("type") == "json_schema", "planning asks for a schema")
    schema = form["json_schema"]
    check(set(schema) <= {"name", "description", "schema", "strict"}, f"json_schema: {sorted(schema)}")
    check(schema.get("strict") is True, "strict")
    check_strict(schema["schema"])
    replanning = "decision" in schema["schema"]["properties"]
    if replanning:
        for told in ("^[0-9]+$", "a great many", "Lübeck"):
            check(told in text, f"{told!r} is not in the request for a revision")
    return json.dumps(REVISION if replanning else PLAN, ensure_ascii=False, indent=1)


def check_strict(schema):
    """The rules of strict structured output: no open objects, nothing optional."""
    if isinstance(schema, list):
        for part in schema:
            check_strict(part)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        check(schema.get("additionalProperties") is False, "additionalProperties is false")
        check(set(schema.get("required", [])) == set(schema["properties"]), "all properties are required")
    for part in schema.values():
        check_strict(part)


def usage(text):
    return {
        "prompt_tokens": 321,
        "completion_tokens": len(text.split()),
        "total_tokens": 321 + len(text.split()),
        "prompt_tokens_details": {"cached_tokens": 21, "audio_tokens": 0},
        "a_field_of_the_future": [],
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log = None
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            check(self.path == "/v1/chat/completions", f"no such path: {self.path}", 404)
            check(self.headers["authorization"] == f"Bearer {KEY}", "the key is wrong", 401)
            check(self.headers["content-type"].startswith("application/json"), "content-type")
            text = answer_to(request)
        except Refused as refused:
            self.note(request, refused.status)
            error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": None}
            self.send(refused.status, json.dumps({"error": error}).encode())
            return
        self.note(request, 200)
        if request.get("stream"):
            self.stream(request, text)
        else:
            self.send(200, self.whole(request, text))

    def note(self, request, status):
        with self.lock:
            line = {"status": status, "model": request.get("model"), "stream": request.get("stream", False)}
            self.log.write(json.dumps({**line, "request": request}) + "\n")
            self.log.flush()

    def whole(self, request, text):
        message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        body = {
            "id": "chatcmpl-f", "object": "chat.completion", "created": 1, "model": request["model"] + "-2026",
            "choices": [choice], "usage": usage(text), "service_tier": "default",
        }
        return b"\n\n  " + json.dumps(body, indent=2).encode()

    def send(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, request, text):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]
        events += [{"delta": {"content": text[at : at + 7]}, "finish_reason": None} for at in range(0, len(text), 7)]
        events.append({"delta": {}, "finish_reason": "stop"})
        head = {"id": "chatcmpl-f", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
        out = ": a comment to keep the connection\r\n\r\n"
        for event in events:
            chunk = {**head, "choices": [{"index": 0, **event}], "usage": None}
            out += f"event: message\r\ndata: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n"
        if request.get("stream_options", {}).get("include_usage"):
            out += f"data: {json.dumps({**head, 'choices': [], 'usage': usage(text)})}\r\n\r\n"
        out += "data: [DONE]\r\n\r\n"
        raw = out.encode()
        # Pieces that respect neither lines nor characters.
        for at in range(0, len(raw), 101):
            piece = raw[at : at + 101]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def main():
    Handler.log = open(sys.argv[1], "a", encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
