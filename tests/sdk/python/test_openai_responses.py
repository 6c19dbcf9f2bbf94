"""Responses through OpenAI's SDK."""

import asyncio
import json

import openai
import pydantic

from gateway import simulate

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Person(pydantic.BaseModel):
    name: str
    age: int


def test_an_answer(client, gateway):
    raw = client.responses.with_raw_response.create(model="auto", input="Hello!")
    answer = raw.parse()
    assert answer.status == "completed"
    assert answer.output_text
    assert answer.usage.output_tokens == 8
    assert raw.headers["x-routerly-model"] == "simulated/responses"
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert (record["endpoint"], record["outcome"], record["outputTokens"]) == ("responses", "success", 8)


def test_messages_as_input(client):
    answer = client.responses.create(
        model="auto",
        instructions="Be brief.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}],
    )
    assert answer.output_text


def test_a_stream(client, gateway):
    stream = client.responses.create(model="auto", input="Hello!", stream=True)
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.output_text.delta" in kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    record = gateway.record(stream.response.headers["x-routerly-trace-id"])
    assert (record["outcome"], record["usageSource"], record["outputTokens"]) == ("success", "reported", 8)


def test_a_stream_asynchronously(gateway):
    async def ask():
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=gateway.token, default_headers=simulate()
        ) as client:
            stream = await client.responses.create(model="auto", input="Hello!", stream=True)
            return [event.type async for event in stream]

    assert asyncio.run(ask())[-1] == "response.completed"


def test_the_stream_helper_assembles_the_answer(client):
    with client.responses.stream(model="auto", input="Hello!") as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_response()
    assert "response.output_text.done" in kinds
    assert answer.output_text


def test_tools(client):
    first = client.responses.create(model="auto", input="Hello!", tools=[WEATHER], tool_choice="required")
    call = next(item for item in first.output if item.type == "function_call")
    assert set(json.loads(call.arguments)) == {"place"}
    second = client.responses.create(
        model="auto",
        tools=[WEATHER],
        input=[
            {"role": "user", "content": "Hello!"},
            call.model_dump(exclude_none=True),
            {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
        ],
    )
    assert second.output_text


def test_tools_in_a_stream(client):
    with client.responses.stream(model="auto", input="Hello!", tools=[WEATHER], tool_choice="required") as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert any(item.type == "function_call" for item in answer.output)


def test_structured_output(client):
    answer = client.responses.parse(model="auto", input="Hello!", text_format=Person)
    assert isinstance(answer.output_parsed, Person)
    with client.responses.stream(model="auto", input="Hello!", text_format=Person) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_reasoning(client, gateway):
    raw = client.responses.with_raw_response.create(
        model="auto",
        input="Hello!",
        reasoning={"effort": "high", "summary": "auto"},
        extra_headers=simulate(thinkingTokens=20),
    )
    answer = raw.parse()
    assert answer.output[0].type == "reasoning"
    assert answer.usage.output_tokens_details.reasoning_tokens > 0
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert record["reasoningTokens"] == answer.usage.output_tokens_details.reasoning_tokens
