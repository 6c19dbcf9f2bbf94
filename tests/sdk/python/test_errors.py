"""What the SDKs make of errors, before and within an answer."""

import anthropic
import openai
import pytest

from gateway import simulate

HELLO = [{"role": "user", "content": "Hello!"}]
ASK = {"model": "simulated/anthropic", "max_tokens": 64, "messages": HELLO}


def chat(client, **more):
    return client.chat.completions.create(model="simulated/chat", messages=HELLO, **more)


def test_a_wrong_token(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-rt-wrong", max_retries=0) as client:
        for call in (lambda: chat(client), lambda: chat(client, stream=True), client.models.list):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert caught.value.code == "unauthorized"
            assert caught.value.response.headers["x-routerly-trace-id"]
    with anthropic.Anthropic(base_url=gateway.url, api_key="sk-rt-wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(**ASK)
        assert caught.value.body["error"]["type"] == "authentication_error"


def test_an_unknown_project(gateway):
    with openai.OpenAI(
        base_url=f"{gateway.url}/projects/nobody/v1", api_key=gateway.token, max_retries=0
    ) as client:
        with pytest.raises(openai.NotFoundError):
            chat(client)


def test_a_request_that_makes_no_sense(client, claude):
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(
            "/chat/completions",
            cast_to=dict,
            content=b'{"model":',
            options={"headers": {"content-type": "application/json"}},
        )
    assert caught.value.code == "invalid_request"
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.post("/v1/messages", cast_to=dict, body=[1, 2])
    assert caught.value.body["error"]["type"] == "invalid_request_error"


OPENAI = [
    (400, openai.BadRequestError),
    (404, openai.NotFoundError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
    (529, openai.InternalServerError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind"), OPENAI)
def test_a_status_of_the_provider_in_openai(client, gateway, status, kind, stream):
    header = simulate(status=status, retryAfter=7)
    calls = [
        lambda: chat(client, stream=stream, extra_headers=header),
        lambda: client.responses.create(model="simulated/responses", input="x", stream=stream, extra_headers=header),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        error = caught.value
        assert error.status_code == status
        assert error.body["message"]
        if status in (429, 503):
            assert error.response.headers["retry-after"] == "7"
        record = gateway.record(error.response.headers["x-routerly-trace-id"])
        assert (record["httpStatus"], record["outcome"]) == (status, "error")
        assert record["cost"] == 0


ANTHROPIC = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.RequestTooLargeError, "request_too_large"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "name"), ANTHROPIC)
def test_a_status_of_the_provider_in_anthropic(claude, status, kind, name, stream):
    with pytest.raises(kind) as caught:
        claude.messages.create(**ASK, stream=stream, extra_headers=simulate(status=status, retryAfter=7))
    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == name
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_gateways_own_key_is_not_the_clients_fault(client, claude, status):
    header = simulate(status=status)
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client, extra_headers=header)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_auth")
    with pytest.raises(anthropic.InternalServerError) as caught:
        claude.messages.create(**ASK, extra_headers=header)
    assert caught.value.status_code == 502
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model="auto", input="x", extra_headers=header)
    assert caught.value.status_code == 502


def test_the_sdk_waits_and_retries_after_a_rate_limit(gateway):
    seen = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=1) as client:
        with pytest.raises(openai.RateLimitError):
            send = client._client.send

            def counted(request, **options):
                seen.append(request.headers["x-stainless-retry-count"])
                return send(request, **options)

            client._client.send = counted
            chat(client, extra_headers=simulate(status=429, retryAfter=1))
    assert seen == ["0", "1"]


#: How a stream goes wrong in the middle: the provider says so, leaves out its end, or hangs up.
WRONG = [
    {"midStreamError": {"afterEvents": 3, "status": 503, "message": "no more room"}},
    {"truncateAfterEvents": 3},
    {"closeAfterEvents": 3},
]


def message_of(error):
    return str(getattr(error, "message", error))


@pytest.mark.parametrize("script", WRONG, ids=lambda script: next(iter(script)))
def test_a_broken_chat_stream_raises(client, gateway, script):
    stream = chat(client, stream=True, extra_headers=simulate(**script))
    seen = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            seen.append(chunk)
    assert not isinstance(caught.value, openai.APIConnectionError), "an error event, not a torn connection"
    assert len(seen) == 1 + 3, "the trace and what came before the fault"
    check_broken(gateway, stream, script, caught.value)


@pytest.mark.parametrize("script", WRONG, ids=lambda script: next(iter(script)))
def test_a_broken_responses_stream_raises(client, gateway, script):
    stream = client.responses.create(model="simulated/responses", input="x", stream=True, extra_headers=simulate(**script))
    seen = []
    with pytest.raises(openai.APIError) as caught:
        for event in stream:
            seen.append(event)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert len(seen) == 3
    check_broken(gateway, stream, script, caught.value)


@pytest.mark.parametrize("script", WRONG, ids=lambda script: next(iter(script)))
def test_a_broken_messages_stream_raises(claude, gateway, script):
    stream = claude.messages.create(**ASK, stream=True, extra_headers=simulate(**script))
    with pytest.raises(anthropic.APIStatusError) as caught:
        for _ in stream:
            pass
    assert caught.value.body["type"] == "error"
    check_broken(gateway, stream, script, caught.value)
    with claude.messages.stream(**ASK, extra_headers=simulate(**script)) as stream:
        with pytest.raises(anthropic.APIStatusError):
            stream.get_final_message()


def check_broken(gateway, stream, script, error):
    record = gateway.record(stream.response.headers["x-routerly-trace-id"])
    assert (record["outcome"], record["endedBy"]) == ("error", "provider")
    if "midStreamError" in script:
        assert "no more room" in message_of(error)
        assert "no more room" in record["errorMessage"]
    else:
        assert record["errorMessage"] in message_of(error)


def test_a_stream_that_is_reset_raises(client, claude):
    # A reset may overtake what was sent before it, so that the stream breaks anywhere or never begins.
    header = simulate(tokensPerSecond=50, outputTokens=64, resetAfterEvents=8)
    for call in (
        lambda: list(chat(client, stream=True, extra_headers=header)),
        lambda: list(client.responses.create(model="simulated/responses", input="x", stream=True, extra_headers=header)),
    ):
        with pytest.raises(openai.APIError) as caught:
            call()
        assert not isinstance(caught.value, openai.APIConnectionError)
    with pytest.raises(anthropic.APIStatusError):
        list(claude.messages.create(**ASK, stream=True, extra_headers=header))


@pytest.mark.parametrize("script", [{"resetAfterEvents": 0}, {"resetAfterEvents": 1}, {"closeAfterEvents": 1}])
def test_a_broken_whole_answer_raises(client, claude, script):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client, extra_headers=simulate(**script))
    assert caught.value.status_code == 502
    with pytest.raises(anthropic.InternalServerError):
        claude.messages.create(**ASK, extra_headers=simulate(**script))


def test_a_stream_that_never_begins_has_a_real_status(client):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client, stream=True, extra_headers=simulate(resetAfterEvents=0))
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_error"
