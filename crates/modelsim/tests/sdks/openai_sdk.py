"""OpenAI's own SDK against the simulator: what it is told arrives as it reads the wire.

openai_sdk.py BASE_URL LIMITED_URL   (prints the name of each story that came out right)
"""

import sys
import time

import openai
from pydantic import BaseModel

BASE, LIMITED = sys.argv[1:]
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="sk-right", max_retries=0)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


def ask(text, client=client, **more):
    return client.chat.completions.create(
        model="gpt-any", messages=[{"role": "user", "content": text}], **more
    )


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
    assert client.models.retrieve("large").owned_by == "modelsim"
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("absent"))
    assert error.code == "model_not_found", error


def plain_chat():
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-any", messages=[{"role": "user", "content": "the capital of France?"}]
    )
    assert raw.headers["x-modelsim"] == "simulated"
    answer = raw.parse()
    assert raw.headers["x-request-id"] == answer._request_id
    assert answer.model == answer.system_fingerprint == "modelsim"
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Paris, of course, and for ever.", "stop")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (6, 8, 14), usage


def streaming():
    pieces, usage, finish = [], None, None
    for chunk in ask("the capital of France?", stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert "".join(pieces) == "Paris, of course, and for ever."
    assert len([piece for piece in pieces if piece]) > 1, "it came in pieces"
    assert (finish, usage.completion_tokens) == ("stop", 8)


def tools_round_trip():
    messages = [{"role": "user", "content": "How is the weather?"}]
    more = {"model": "gpt-any", "tools": [WEATHER]}
    first = client.chat.completions.create(messages=messages, **more).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.content is None
    [call] = first.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Paris"}')
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    last = client.chat.completions.create(messages=messages, **more).choices[0]
    assert last.message.content == "It is mild."


def streamed_tools():
    with client.chat.completions.stream(
        model="gpt-any", messages=[{"role": "user", "content": "How is the weather?"}], tools=[WEATHER]
    ) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Paris"}')
    assert call.id.startswith("call_modelsim_") and final.choices[0].finish_reason == "tool_calls"


def structured_output():
    parsed = client.chat.completions.parse(
        model="gpt-any", messages=[{"role": "user", "content": "a person"}], response_format=Person
    )
    assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)
    forced = ask("a person", tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}})
    assert forced.choices[0].message.tool_calls[0].function.arguments == '{"age":36,"name":"Ada"}'


def refusal_and_limit():
    message = ask("be rude").choices[0].message
    assert (message.content, message.refusal) == (None, "I would rather not.")
    cut = ask("the capital of France?", max_completion_tokens=2).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("Paris, o", "length")


def errors():
    wrong = client.with_options(api_key="sk-wrong")
    raises(openai.AuthenticationError, lambda: ask("the capital of France?", wrong))
    error = raises(openai.BadRequestError, lambda: ask("hello", tool_choice="auto"))
    assert error.param == "tool_choice", error
    results_first = [{"role": "tool", "tool_call_id": "a", "content": "x"}]
    error = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="gpt-any", messages=results_first),
    )
    assert error.type == "invalid_request_error" and "preceeding message" in error.message, error
    error = raises(openai.BadRequestError, lambda: ask("nobody foresaw this"))
    assert error.code == "modelsim_no_rule", error
    error = raises(openai.RateLimitError, lambda: ask("fault-429"))
    assert error.response.headers["retry-after"] == "0.01" and error.code == "rate_limit_exceeded", error
    error = raises(openai.RateLimitError, lambda: ask("fault-quota"))
    assert error.code == error.type == "insufficient_quota", error
    error = raises(openai.InternalServerError, lambda: ask("fault-500"))
    assert (error.status_code, error.type) == (500, "server_error"), error
    error = raises(openai.InternalServerError, lambda: ask("fault-529"))
    assert (error.status_code, error.code) == (503, "server_is_overloaded"), error
    impatient = client.with_options(timeout=0.3)
    raises(openai.APITimeoutError, lambda: ask("fault-hang", impatient))


def faults_in_the_middle():
    seen = []

    def read(text):
        seen.clear()
        for chunk in ask(text, stream=True):
            seen.append(chunk)

    raises(openai.APIError, lambda: read("fault-error-mid-stream"))
    assert len(seen) > 1
    raises(openai.APIConnectionError, lambda: read("fault-cut-mid-stream"))
    assert len(seen) > 1
    raises(openai.APIConnectionError, lambda: ask("fault-cut-mid-stream"))


def retries():
    patient = client.with_options(max_retries=2)
    assert ask("twice unlucky", patient).choices[0].message.content == "at last"


def rate_limits():
    limited = openai.OpenAI(base_url=f"{LIMITED}/v1", api_key="sk-openai", max_retries=0)

    def call():
        return limited.chat.completions.with_raw_response.create(
            model="gpt-any", messages=[{"role": "user", "content": "the capital of France?"}]
        )

    headers = call().headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    assert headers["x-ratelimit-remaining-tokens"] == "986", "6 in and 8 out"
    assert headers["x-ratelimit-reset-tokens"].endswith("ms"), headers
    call()
    error = raises(openai.RateLimitError, call)
    wait_ms = int(error.response.headers["retry-after-ms"])
    assert 0 < wait_ms <= 30_000 and int(error.response.headers["retry-after"]) == -(-wait_ms // 1000)
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded"), error


def prompt_caching():
    story = f"Once upon a time {time.monotonic_ns()}. " * 300

    def cached(question):
        messages = [{"role": "system", "content": story}, {"role": "user", "content": question}]
        answer = client.chat.completions.create(model="gpt-any", messages=messages, prompt_cache_key="story")
        details = answer.usage.prompt_tokens_details
        return details.cached_tokens, answer.usage.prompt_tokens

    assert cached("the capital of France?")[0] == 0
    read, prompt = cached("France: its capital of France?")
    assert read == -(-len(story) // 4) and read < prompt, (read, prompt)


STORIES = [
    models, plain_chat, streaming, tools_round_trip, streamed_tools, structured_output,
    refusal_and_limit, errors, faults_in_the_middle, retries, rate_limits, prompt_caching,
]
for story in STORIES:
    story()
    print(story.__name__, flush=True)
