"""Messages through Anthropic's SDK."""

import asyncio

import anthropic
import pytest

from gateway import simulate

ASK = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}
WEATHER = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
    },
}


def test_an_answer(claude, gateway):
    raw = claude.messages.with_raw_response.create(**ASK)
    answer = raw.parse()
    assert answer.type == "message"
    assert answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 8
    assert answer._request_id == raw.headers["request-id"]
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "4000"
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert (record["endpoint"], record["outcome"], record["outputTokens"]) == ("messages", "success", 8)
    assert record["inputTokens"] == answer.usage.input_tokens


def test_the_token_as_bearer(gateway):
    with anthropic.Anthropic(
        base_url=gateway.url, auth_token=gateway.token, api_key=None, default_headers=simulate()
    ) as client:
        assert client.messages.create(**ASK).content


def test_an_alias_of_the_base_path(gateway):
    with anthropic.Anthropic(
        base_url=f"{gateway.url}/anthropic", api_key=gateway.token, default_headers=simulate()
    ) as client:
        assert client.messages.create(**ASK).content


def test_events_of_a_stream(claude, gateway):
    stream = claude.messages.create(**ASK, stream=True)
    kinds = [event.type for event in stream]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    record = gateway.record(stream.response.headers["x-routerly-trace-id"])
    assert (record["outcome"], record["usageSource"], record["outputTokens"]) == ("success", "reported", 8)


def test_the_stream_helper_assembles_the_message(claude):
    with claude.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text
    assert message.usage.output_tokens == 8


def test_a_stream_asynchronously(gateway):
    async def ask():
        async with anthropic.AsyncAnthropic(
            base_url=gateway.url, api_key=gateway.token, default_headers=simulate()
        ) as client:
            whole = await client.messages.create(**ASK)
            async with client.messages.stream(**ASK) as stream:
                return whole, await stream.get_final_message()

    whole, streamed = asyncio.run(ask())
    assert whole.content[0].text and streamed.content[0].text


def test_tools(claude):
    first = claude.messages.create(**ASK, tools=[WEATHER], tool_choice={"type": "any"})
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    assert set(call.input) == {"place"}
    messages = ASK["messages"] + [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
    ]
    second = claude.messages.create(**{**ASK, "messages": messages}, tools=[WEATHER])
    assert second.stop_reason == "end_turn"


def test_tools_in_a_stream(claude):
    with claude.messages.stream(
        **ASK, tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}
    ) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_message()
    assert "input_json" in kinds
    assert set(message.content[0].input) == {"place"}


THINKING = {
    **ASK,
    "max_tokens": 4096,
    "thinking": {"type": "enabled", "budget_tokens": 2048},
}


def test_thinking(claude):
    answer = claude.messages.create(**THINKING)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature


def test_thinking_in_a_stream(claude):
    with claude.messages.stream(**THINKING) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_message()
    assert {"thinking", "signature", "text"} <= kinds
    assert message.content[0].thinking


def test_cache_tokens_are_counted_as_input(claude, gateway):
    raw = claude.messages.with_raw_response.create(
        **{**ASK, "messages": [{"role": "user", "content": "x" * 8000}]},
        extra_headers=simulate(cachedInputTokens=700, cacheWriteInputTokens=300),
    )
    usage = raw.parse().usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (700, 300)
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert record["inputTokens"] == usage.input_tokens + 1000
    assert record["cachedInputTokens"] == 700
    assert record["cacheCreationInputTokens"] == 300


def test_count_tokens(claude):
    counted = claude.messages.count_tokens(model="auto", messages=ASK["messages"], tools=[WEATHER])
    assert counted.input_tokens > 0


def test_models(claude):
    page = claude.models.list()
    names = ["chat", "responses", "anthropic", "gemini"]
    assert [model.id for model in page] == [f"simulated/{name}" for name in names]
    assert not page.has_more
    model = claude.models.retrieve("simulated/anthropic")
    assert (model.type, model.id) == ("model", "simulated/anthropic")
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("nobody/nothing")


def test_a_project_in_the_path(gateway):
    with anthropic.Anthropic(
        base_url=f"{gateway.url}/projects/demo", api_key=gateway.token, default_headers=simulate()
    ) as client:
        assert client.messages.create(**ASK).content
        assert client.messages.count_tokens(model="auto", messages=ASK["messages"]).input_tokens > 0
