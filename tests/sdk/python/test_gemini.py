"""generateContent through Google's SDK, with models of every dialect behind it."""

import pytest
from google import genai
from google.genai import types

from gateway import simulate

MODELS = ["simulated/gemini", "simulated/chat", "simulated/responses", "simulated/anthropic"]
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a place.",
            parameters_json_schema={
                "type": "object",
                "properties": {"place": {"type": "string"}},
                "required": ["place"],
            },
        )
    ]
)


def config(**settings):
    settings.setdefault("automatic_function_calling", types.AutomaticFunctionCallingConfig(disable=True))
    return types.GenerateContentConfig(**settings)


def scripted(**script):
    return types.HttpOptions(headers=simulate(**script))


@pytest.mark.parametrize("model", MODELS)
def test_an_answer(google, gateway, model):
    answer = google.models.generate_content(model=model, contents="Hello!")
    assert answer.text
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata.candidates_token_count == 8
    headers = answer.sdk_http_response.headers
    assert headers["x-routerly-model"] == model
    record = gateway.record(headers["x-routerly-trace-id"])
    assert (record["endpoint"], record["outcome"], record["outputTokens"]) == ("gemini", "success", 8)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream(google, model):
    chunks = list(google.models.generate_content_stream(model=model, contents="Hello!"))
    assert len(chunks) > 2
    assert "".join(chunk.text or "" for chunk in chunks)
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.candidates_token_count == 8


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_is_silent_for_a_while(google, model):
    """What keeps the connection open must not be taken for an event."""
    slow = config(http_options=scripted(ttftMs=300, tokensPerSecond=50))
    chunks = list(google.models.generate_content_stream(model=model, contents="Hello!", config=slow))
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_tool_s_turn(google, model, stream):
    def ask(contents):
        asked = {"model": model, "contents": contents, "config": config(tools=[WEATHER], http_options=forced)}
        if not stream:
            return google.models.generate_content(**asked).candidates[0].content
        parts = []
        for chunk in google.models.generate_content_stream(**asked):
            parts += chunk.candidates[0].content.parts or [] if chunk.candidates[0].content else []
        return types.Content(role="model", parts=parts)

    forced = scripted(toolCalls=1.0)
    contents = [types.Content(role="user", parts=[types.Part(text="Weather in Bern?")])]
    said = ask(contents)
    calls = [part.function_call for part in said.parts if part.function_call]
    assert [call.name for call in calls] == ["weather"]
    assert isinstance(calls[0].args["place"], str)
    result = types.FunctionResponse(id=calls[0].id, name="weather", response={"output": "sunny"})
    contents += [said, types.Content(role="user", parts=[types.Part(function_response=result)])]
    assert "".join(part.text or "" for part in ask(contents).parts)


@pytest.mark.parametrize("model", MODELS)
def test_thoughts(google, model):
    thinking = config(thinking_config=types.ThinkingConfig(thinking_budget=1024, include_thoughts=True))
    answer = google.models.generate_content(model=model, contents="Hello!", config=thinking)
    assert answer.text
    assert [part for part in answer.candidates[0].content.parts if part.thought]


@pytest.mark.parametrize("status,kind", [(429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE")])
@pytest.mark.parametrize("model", MODELS)
def test_an_error(google, model, status, kind):
    with pytest.raises(genai.errors.APIError) as caught:
        google.models.generate_content(
            model=model, contents="Hello!", config=config(http_options=scripted(status=status))
        )
    assert (caught.value.code, caught.value.status) == (status, kind)


@pytest.mark.parametrize("model", MODELS)
def test_an_error_within_a_stream(google, model):
    broken = scripted(midStreamError={"afterEvents": 6, "status": 500, "message": "it broke"})
    stream = google.models.generate_content_stream(
        model=model, contents="Hello!", config=config(http_options=broken)
    )
    with pytest.raises(genai.errors.APIError, match="it broke"):
        list(stream)


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted(google, model):
    assert google.models.count_tokens(model=model, contents="Hello, how are you?").total_tokens > 2


def test_models(google):
    names = [model.name for model in google.models.list()]
    assert names == [f"models/simulated/{name}" for name in ["chat", "responses", "anthropic", "gemini"]]
    assert google.models.get(model="models/simulated/gemini").input_token_limit == 128_000


def test_a_wrong_key(gateway):
    client = genai.Client(api_key="sk-rt-wrong", http_options=types.HttpOptions(base_url=gateway.url))
    with pytest.raises(genai.errors.ClientError) as caught:
        client.models.generate_content(model="simulated/gemini", contents="Hello!")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
