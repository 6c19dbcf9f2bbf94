"""Every SDK to a model of every dialect: text, calls, thoughts, finish and usage are the same."""

import pytest

from clients import CLIENTS

MODELS = ["simulated/chat", "simulated/responses", "simulated/anthropic", "simulated/gemini"]


@pytest.fixture(params=CLIENTS)
def sdk(request, gateway):
    return CLIENTS[request.param](gateway)


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def checked(answer, gateway, model):
    """The answer, after a look at who gave it and at the record of its usage."""
    assert answer.headers["x-routerly-model"] == model
    record = gateway.record(answer.headers["x-routerly-trace-id"])
    assert record["outcome"] == "success", record
    assert (record["inputTokens"], record["outputTokens"]) == (answer.input_tokens, answer.output_tokens)
    return answer


def test_text(sdk, model, stream, gateway):
    answer = checked(sdk.ask(model, [sdk.user("Hello!")], stream=stream, seed=7), gateway, model)
    assert answer.text and not answer.calls
    assert answer.finish == "stop"
    assert answer.output_tokens == 8 and answer.input_tokens > 0


def test_an_image(sdk, model, stream, gateway):
    answer = sdk.ask(model, [sdk.user("What is this?", image=True)], stream=stream)
    assert checked(answer, gateway, model).text


def test_an_answer_that_is_cut_at_its_limit(sdk, model, stream, gateway):
    answer = sdk.ask(model, [sdk.user("Hello!")], stream=stream, limit=16, outputTokens=200)
    assert checked(answer, gateway, model).finish == "length"
    assert answer.output_tokens == 16


def test_an_agent_with_tools(sdk, model, stream, gateway):
    turns = [sdk.user("How is the weather?")]
    for _ in range(2):
        asked = checked(
            sdk.ask(model, turns, tools=True, force=True, stream=stream, toolCallCount=2), gateway, model
        )
        assert asked.finish == "tools"
        assert [call.name for call in asked.calls] == ["weather", "weather"]
        # Gemini's own models may leave the ids out.
        assert len({call.id for call in asked.calls} - {None}) in (0, 2)
        assert all(set(call.arguments) == {"place", "days"} for call in asked.calls)
        turns.append(asked.turn)
        results = [sdk.result(call, f"rain in {call.arguments['place']}") for call in asked.calls]
        turns.append(merged(results))
    answer = checked(sdk.ask(model, turns, tools=True, stream=stream), gateway, model)
    assert answer.finish == "stop" and answer.text


def merged(results):
    """The results of one turn as the dialect has them: in one message where it has messages with parts."""
    first = results[0][0]
    if isinstance(first, dict) and first.get("role") == "user":
        return [{"role": "user", "content": [part for result in results for part in result[0]["content"]]}]
    if hasattr(first, "parts"):
        return [type(first)(role="user", parts=[part for result in results for part in result[0].parts])]
    return sum(results, [])


def test_thoughts_and_what_follows_them(sdk, model, stream, gateway):
    turns = [sdk.user("Think!")]
    thought = checked(sdk.ask(model, turns, think=True, stream=stream, reasoningTokens=20), gateway, model)
    assert thought.text
    assert thought.output_tokens >= 28
    again = [*turns, thought.turn, sdk.user("Go on.")]
    assert checked(sdk.ask(model, again, think=True, stream=stream), gateway, model).text
