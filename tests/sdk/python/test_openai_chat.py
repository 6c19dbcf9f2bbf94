"""Chat Completions through OpenAI's SDK."""

import asyncio
import json

import openai
import pydantic
import pytest

from gateway import simulate

HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Recipe(pydantic.BaseModel):
    title: str
    minutes: int
    steps: list[str]


def test_an_answer(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert (record["outcome"], record["usageSource"], record["stream"]) == ("success", "reported", False)
    assert (record["inputTokens"], record["outputTokens"]) == (answer.usage.prompt_tokens, 8)
    assert float(raw.headers["x-routerly-cost"]) == pytest.approx(record["cost"])


def test_headers_of_the_provider_and_of_the_gateway(client):
    raw = client.chat.completions.with_raw_response.create(model="simulated/chat", messages=HELLO)
    assert raw.headers["x-routerly-model"] == "simulated/chat"
    assert raw.headers["x-routerly-provider"] == "simulated"
    assert raw.headers["x-ratelimit-limit-requests"] == "10000"
    assert raw.request_id == raw.headers["x-request-id"] == raw.parse()._request_id
    assert "set-cookie" not in raw.headers


def test_an_answer_asynchronously(gateway):
    async def ask():
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=gateway.token, default_headers=simulate()
        ) as client:
            return await client.chat.completions.create(model="auto", messages=HELLO)

    assert asyncio.run(ask()).choices[0].message.content


def read(stream):
    """Text, chunks with usage and all chunks of a stream."""
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, [chunk for chunk in chunks if chunk.usage], chunks


def test_a_stream_opens_with_the_trace_and_withholds_usage_nobody_asked_for(client, gateway):
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    text, with_usage, chunks = read(stream)
    assert text
    assert with_usage == []
    trace, *rest = chunks
    assert trace.choices == []
    assert trace.model_extra["type"] == "trace"
    assert trace.model == "simulated/chat"
    assert trace.model_extra["traceId"] == stream.response.headers["x-routerly-trace-id"]
    assert rest[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in rest}) == 1
    record = gateway.record(trace.model_extra["traceId"])
    assert (record["outcome"], record["usageSource"], record["outputTokens"]) == ("success", "reported", 8)


def test_a_stream_with_usage(client):
    stream = client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    _, with_usage, chunks = read(stream)
    assert with_usage == [chunks[-1]]
    assert with_usage[0].choices == []
    assert with_usage[0].usage.completion_tokens == 8


def test_a_stream_with_usage_refused_by_the_client(client):
    stream = client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, stream_options={"include_usage": False}
    )
    text, with_usage, _ = read(stream)
    assert text and with_usage == []


def test_a_stream_without_trace(client):
    stream = client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, extra_headers={"x-routerly-trace": "none"}
    )
    _, _, chunks = read(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert not any("type" in (chunk.model_extra or {}) for chunk in chunks)


def test_a_stream_asynchronously(gateway):
    async def ask():
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=gateway.token, default_headers=simulate()
        ) as client:
            stream = await client.chat.completions.create(model="auto", messages=HELLO, stream=True)
            return [chunk async for chunk in stream]

    chunks = asyncio.run(ask())
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_stream_helper_assembles_the_answer(client):
    with client.chat.completions.stream(
        model="auto", messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 8


def test_the_raw_stream_is_server_sent_events(client):
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=HELLO, stream=True
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = list(raw.iter_lines())
    assert lines[-2] == "data: [DONE]" or lines[-1] == "data: [DONE]"


def test_tools(client):
    messages = list(HELLO)
    answer = client.chat.completions.create(
        model="auto", messages=messages, tools=[WEATHER], tool_choice="required"
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    call = message.tool_calls[0]
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"place", "days"}
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    answer = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"


def test_tools_in_a_stream(client):
    with client.chat.completions.stream(
        model="auto",
        messages=HELLO,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    ) as stream:
        kinds = {event.type for event in stream}
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert "tool_calls.function.arguments.done" in kinds
    assert set(call.function.parsed_arguments) == {"place", "days"}


def test_parallel_tools(client):
    answer = client.chat.completions.create(
        model="auto",
        messages=HELLO,
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=True,
        extra_headers=simulate(toolCallCount=3),
    )
    assert len({call.id for call in answer.choices[0].message.tool_calls}) == 3


def test_structured_output(client):
    answer = client.chat.completions.parse(model="auto", messages=HELLO, response_format=Recipe)
    assert isinstance(answer.choices[0].message.parsed, Recipe)


def test_structured_output_in_a_stream(client):
    with client.chat.completions.stream(model="auto", messages=HELLO, response_format=Recipe) as stream:
        answer = stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, Recipe)


def test_several_choices(client):
    answer = client.chat.completions.create(model="auto", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    stream = client.chat.completions.create(model="auto", messages=HELLO, n=3, stream=True)
    indices = {choice.index for chunk in stream for choice in chunk.choices}
    assert indices == {0, 1, 2}


def test_cached_and_reasoning_tokens_reach_client_and_record(client, gateway):
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": "x" * 4000}],
        extra_headers=simulate(cachedInputTokens=600, reasoningTokens=40),
    )
    usage = raw.parse().usage
    assert usage.prompt_tokens_details.cached_tokens == 600
    assert usage.completion_tokens_details.reasoning_tokens == 40
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert record["cachedInputTokens"] == 600
    assert record["reasoningTokens"] == 40
    assert record["outputTokens"] == usage.completion_tokens


def test_a_project_in_the_path(gateway):
    with openai.OpenAI(
        base_url=f"{gateway.url}/projects/demo/v1", api_key=gateway.token, default_headers=simulate()
    ) as client:
        assert client.chat.completions.create(model="auto", messages=HELLO).choices
        assert len(read(client.chat.completions.create(model="auto", messages=HELLO, stream=True))[2]) > 1
        assert client.embeddings.create(model="auto", input="x", dimensions=8).data


def test_a_model_by_its_name(client):
    for name in ("simulated/chat", "chat", "auto", "routerly/auto"):
        raw = client.chat.completions.with_raw_response.create(model=name, messages=HELLO)
        assert raw.headers["x-routerly-model"] == "simulated/chat", name
