"""OpenAI's and Anthropic's SDKs with models of the other dialects: what they read is as good as from their own."""

import anthropic
import openai
import pytest

from gateway import simulate

FOR_CHAT = ["simulated/responses", "simulated/anthropic", "simulated/gemini"]
FOR_RESPONSES = ["simulated/chat", "simulated/anthropic", "simulated/gemini"]
FOR_MESSAGES = ["simulated/chat", "simulated/responses", "simulated/gemini"]

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
HELLO = [{"role": "user", "content": "Weather in Bern?"}]
CALLS = simulate(toolCalls=1.0)


@pytest.mark.parametrize("model", FOR_CHAT)
def test_chat(client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    answer = raw.parse()
    assert raw.headers["x-routerly-model"] == model
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 8


@pytest.mark.parametrize("model", FOR_CHAT)
def test_a_chat_with_tools_through_the_stream_helper(client, model):
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    with client.chat.completions.stream(
        model=model, messages=HELLO, tools=[tool], extra_headers=CALLS, stream_options={"include_usage": True}
    ) as stream:
        answer = stream.get_final_completion()
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.total_tokens > 0
    (call,) = message.tool_calls
    assert call.function.name == "weather"
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    turn = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
    turn["tool_calls"][0]["function"] = {"name": call.function.name, "arguments": call.function.arguments}
    again = client.chat.completions.create(
        model=model, messages=[*HELLO, turn, result], tools=[tool], extra_headers=CALLS
    )
    assert again.choices[0].message.content


@pytest.mark.parametrize("model", FOR_RESPONSES)
def test_a_response(client, model):
    raw = client.responses.with_raw_response.create(model=model, input="Hello!", instructions="Be brief.")
    answer = raw.parse()
    assert raw.headers["x-routerly-model"] == model
    assert (answer.status, answer.instructions) == ("completed", "Be brief.")
    assert answer.output_text
    assert answer.usage.output_tokens == 8


@pytest.mark.parametrize("model", FOR_RESPONSES)
def test_a_response_with_tools_as_a_stream(client, model):
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    with client.responses.stream(model=model, input=HELLO, tools=[tool], extra_headers=CALLS) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    (call,) = [item for item in answer.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    history = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
    again = client.responses.create(
        model=model, input=[*HELLO, *history, result], tools=[tool], extra_headers=CALLS
    )
    assert again.output_text


@pytest.mark.parametrize("model", FOR_MESSAGES)
def test_a_message(claude, model):
    raw = claude.messages.with_raw_response.create(model=model, max_tokens=64, messages=HELLO)
    answer = raw.parse()
    assert raw.headers["x-routerly-model"] == model
    assert answer._request_id == raw.headers["x-routerly-trace-id"]
    assert (answer.content[0].type, answer.stop_reason) == ("text", "end_turn")
    assert answer.usage.output_tokens == 8


@pytest.mark.parametrize("model", FOR_MESSAGES)
def test_a_message_with_thoughts_and_tools_as_a_stream(claude, model):
    tool = {"name": "weather", "input_schema": SCHEMA}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {"model": model, "max_tokens": 4096, "tools": [tool], "thinking": thinking, "extra_headers": CALLS}
    with claude.messages.stream(messages=HELLO, **asked) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather"]
    assert isinstance(calls[0].input["place"], str)
    turn = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]}
    result = {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"}
    again = claude.messages.create(messages=[*HELLO, turn, {"role": "user", "content": [result]}], **asked)
    assert [block for block in again.content if block.type == "text"]


@pytest.mark.parametrize("model", FOR_MESSAGES)
def test_tokens_are_counted(claude, model):
    assert claude.messages.count_tokens(model=model, messages=HELLO).input_tokens > 2


@pytest.mark.parametrize("model", FOR_CHAT)
def test_errors_of_chat(client, model):
    for status, error in [(429, openai.RateLimitError), (500, openai.InternalServerError)]:
        with pytest.raises(error):
            client.chat.completions.create(model=model, messages=HELLO, extra_headers=simulate(status=status))
    broken = simulate(midStreamError={"afterEvents": 6, "status": 500, "message": "it broke"})
    with pytest.raises(openai.APIError, match="it broke"):
        list(client.chat.completions.create(model=model, messages=HELLO, stream=True, extra_headers=broken))


@pytest.mark.parametrize("model", FOR_MESSAGES)
def test_errors_of_messages(claude, model):
    asked = {"model": model, "max_tokens": 64, "messages": HELLO}
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(**asked, extra_headers=simulate(status=429))
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(**asked, extra_headers=simulate(status=503))
    assert caught.value.status_code == 529
    broken = simulate(midStreamError={"afterEvents": 6, "status": 500, "message": "it broke"})
    with pytest.raises(anthropic.APIStatusError, match="it broke"):
        list(claude.messages.create(**asked, stream=True, extra_headers=broken))


def test_what_is_lost_is_named(client):
    raw = client.chat.completions.with_raw_response.create(
        model="simulated/anthropic", messages=HELLO, seed=7, logit_bias={"1": 1}
    )
    assert raw.headers["x-routerly-translation"] == "dropped=seed,logit_bias"
    strict = {**simulate(), "x-routerly-strict": "true"}
    with pytest.raises(openai.BadRequestError, match="`seed`"):
        client.chat.completions.create(model="simulated/anthropic", messages=HELLO, seed=7, extra_headers=strict)
