"""Anthropic's own SDK against the simulator: what it is told arrives as it reads the wire.

anthropic_sdk.py BASE_URL LIMITED_URL   (prints the name of each story that came out right)
"""

import sys
import time

import anthropic
import httpx2 as httpx
from pydantic import BaseModel

BASE, LIMITED = sys.argv[1:]
client = anthropic.Anthropic(base_url=BASE, api_key="sk-right", max_retries=0)
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Person(BaseModel):
    name: str
    age: int


def ask(text, client=client, **more):
    more = {"max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}
    return client.messages.create(model="claude-any", **more)


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error)} instead of {kind}"
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def models():
    listed = client.models.list()
    assert [model.id for model in listed] == ["modelsim", "large"], listed
    assert client.models.retrieve("large").display_name == "large (simulated)"
    raises(anthropic.NotFoundError, lambda: client.models.retrieve("absent"))


def plain_chat():
    raw = client.messages.with_raw_response.create(
        model="claude-any", max_tokens=1000, messages=[{"role": "user", "content": "the capital of France?"}]
    )
    assert raw.headers["x-modelsim"] == "simulated"
    answer = raw.parse()
    assert raw.headers["request-id"] == answer._request_id
    assert (answer.model, answer.role, answer.stop_reason) == ("modelsim", "assistant", "end_turn")
    assert [block.text for block in answer.content] == ["Paris, of course, and for ever."]
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (6, 8, 0), usage


def streaming():
    with client.messages.stream(
        model="claude-any", max_tokens=1000, messages=[{"role": "user", "content": "the capital of France?"}]
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == "Paris, of course, and for ever." and len(pieces) > 1, pieces
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 6, 8)
    kinds = [event.type for event in ask("the capital of France?", stream=True)]
    assert (kinds[0], kinds[1], kinds[-1]) == ("message_start", "content_block_start", "message_stop"), kinds


def tools_round_trip():
    messages = [{"role": "user", "content": "How is the weather?"}]
    first = ask("", messages=messages, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    [call] = first.content
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert ask("", messages=messages, tools=[WEATHER]).content[0].text == "It is mild."


def streamed_tools():
    with client.messages.stream(
        model="claude-any", max_tokens=1000, tools=[WEATHER],
        messages=[{"role": "user", "content": "How is the weather?"}],
    ) as stream:
        final = stream.get_final_message()
    [call] = final.content
    assert (call.name, call.input, final.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    assert call.id.startswith("toolu_modelsim_"), call


def structured_output():
    parsed = client.messages.parse(
        model="claude-any", max_tokens=1000, messages=[{"role": "user", "content": "a person"}],
        output_format=Person,
    )
    assert parsed.parsed_output == Person(name="Ada", age=36)
    forced = ask("a person", tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"})
    assert forced.content[0].input == {"name": "Ada", "age": 36}


def refusal_and_limit():
    refused = ask("be rude")
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    assert refused.stop_details.explanation == "I would rather not."
    cut = ask("the capital of France?", max_tokens=2)
    assert (cut.content[0].text, cut.stop_reason) == ("Paris, o", "max_tokens")


def errors():
    wrong = client.with_options(api_key="sk-wrong")
    raises(anthropic.AuthenticationError, lambda: ask("the capital of France?", wrong))

    def invalid(part, **more):
        error = raises(anthropic.BadRequestError, lambda: ask("hello", **more))
        assert error.type == "invalid_request_error" and part in error.message, error

    invalid("first message must use", messages=[{"role": "assistant", "content": "x"}])
    invalid("only be specified while providing tools", tool_choice={"type": "auto"})
    invalid("Extra inputs are not permitted", extra_body={"n": 2})
    result = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
    invalid("unexpected `tool_use_id`", messages=[{"role": "user", "content": [result]}])
    invalid("Your credit balance is too low", messages=[{"role": "user", "content": "fault-quota"}])
    invalid("modelsim_no_rule", messages=[{"role": "user", "content": "nobody foresaw this"}])
    raw = httpx.post(f"{BASE}/v1/messages", json={"model": "m"}, headers={"x-api-key": "sk-right"})
    assert raw.json()["error"]["message"] == "anthropic-version: header is required", raw.text
    headers = {"x-api-key": "sk-right", "anthropic-version": "2023-06-01"}
    raw = httpx.post(f"{BASE}/v1/messages", json={"model": "m", "messages": []}, headers=headers)
    assert raw.status_code == 400 and "max_tokens: Field required" in raw.text, raw.text
    error = raises(anthropic.RateLimitError, lambda: ask("fault-429"))
    assert error.response.headers["retry-after"] == "0.01" and error.type == "rate_limit_error", error
    error = raises(anthropic.InternalServerError, lambda: ask("fault-500"))
    assert (error.status_code, error.type) == (500, "api_error"), error
    error = raises(type_of_overload(), lambda: ask("fault-529"))
    assert (error.status_code, error.type) == (529, "overloaded_error"), error
    impatient = client.with_options(timeout=0.3)
    raises(anthropic.APITimeoutError, lambda: ask("fault-hang", impatient))


def type_of_overload():
    """The SDK has a class of its own for 529 and keeps it to itself."""
    return anthropic._exceptions.OverloadedError


def faults_in_the_middle():
    seen = []

    def read(text):
        seen.clear()
        for event in ask(text, stream=True):
            seen.append(event)

    error = raises(anthropic.APIStatusError, lambda: read("fault-error-mid-stream"))
    assert error.body["error"]["type"] == "overloaded_error" and len(seen) > 1, error
    raises(httpx.RemoteProtocolError, lambda: read("fault-cut-mid-stream"))
    assert len(seen) > 1
    raises(anthropic.APIConnectionError, lambda: ask("fault-cut-mid-stream"))


def retries():
    patient = client.with_options(max_retries=2)
    assert ask("twice unlucky", patient).content[0].text == "at last"


def rate_limits():
    limited = anthropic.Anthropic(base_url=LIMITED, api_key="sk-anthropic", max_retries=0)

    def call():
        return limited.messages.with_raw_response.create(
            model="claude-any", max_tokens=1000, messages=[{"role": "user", "content": "the capital of France?"}]
        )

    headers = call().headers
    limit = lambda name: headers[f"anthropic-ratelimit-{name}"]
    assert (limit("requests-limit"), limit("requests-remaining")) == ("2", "1")
    assert (limit("tokens-limit"), limit("tokens-remaining")) == ("1000", "986"), "6 in and 8 out"
    assert time.strptime(limit("tokens-reset"), "%Y-%m-%dT%H:%M:%SZ")
    call()
    error = raises(anthropic.RateLimitError, call)
    assert 0 < int(error.response.headers["retry-after"]) <= 30
    assert error.type == "rate_limit_error", error


def prompt_caching():
    story = f"Once upon a time {time.monotonic_ns()}. " * 300
    tokens = -(-len(story) // 4)

    def usage(question):
        system = [{"type": "text", "text": story, "cache_control": {"type": "ephemeral"}}]
        return ask(question, system=system).usage

    first, second = usage("the capital of France?"), usage("France: its capital of France?")
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (tokens, 0), first
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, tokens), second
    assert 0 < second.input_tokens < 20, "the rest alone"


STORIES = [
    models, plain_chat, streaming, tools_round_trip, streamed_tools, structured_output,
    refusal_and_limit, errors, faults_in_the_middle, retries, rate_limits, prompt_caching,
]
for story in STORIES:
    story()
    print(story.__name__, flush=True)
