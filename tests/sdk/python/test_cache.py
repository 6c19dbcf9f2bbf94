"""Answers from the gateway's cache, read by stock SDKs."""

import json

import anthropic
import openai
import pytest
from google import genai

from gateway import Gateway, simulate, wait_for

MESSAGES = [{"role": "user", "content": "Say it again."}]
WARM_UP = [{"role": "user", "content": "Is it on?"}]
#: The same for all calls: what the simulated provider is told is part of the key.
HEADERS = simulate()


@pytest.fixture(scope="module")
def caching():
    """A gateway whose project gives the same answer to the same request."""
    running = Gateway()
    running.edit("config/projects.json", lambda projects: projects[0].update(responseCache={"enabled": True}))
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.token, default_headers=HEADERS) as client:
        ask = client.chat.completions.with_raw_response
        wait_for("the cache", lambda: "x-routerly-cache" in ask.create(model="auto", messages=WARM_UP).headers)
    yield running
    running.stop()


def twice(call):
    """What a call says the first and the second time, and what the cache had to do with it."""
    first, second = call(), call()
    assert [first[0], second[0]] == ["miss", "hit"]
    assert first[1] == second[1]
    return second[1]


@pytest.fixture
def chat(caching):
    with openai.OpenAI(base_url=f"{caching.url}/v1", api_key=caching.token, default_headers=HEADERS) as client:
        yield client


def said(raw, parsed):
    return raw.headers["x-routerly-cache"], parsed


def test_chat(chat):
    def whole():
        raw = chat.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES)
        return said(raw, raw.parse().model_dump())

    def stream():
        raw = chat.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES, stream=True)
        deltas = [chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices]
        return said(raw, "".join(deltas))

    assert twice(whole)["choices"][0]["message"]["content"]
    assert twice(stream)


def test_responses(chat):
    def whole():
        raw = chat.responses.with_raw_response.create(model="auto", input="Say it again.", store=False)
        return said(raw, raw.parse().output_text)

    def stream():
        raw = chat.responses.with_raw_response.create(model="auto", input="Say it again.", store=False, stream=True)
        events = list(raw.parse())
        assert events[-1].type == "response.completed"
        return said(raw, [event.type for event in events])

    assert twice(whole)
    assert twice(stream)


def test_messages(caching):
    with anthropic.Anthropic(base_url=caching.url, api_key=caching.token, default_headers=HEADERS) as client:

        def whole():
            raw = client.messages.with_raw_response.create(model="auto", max_tokens=64, messages=MESSAGES)
            return said(raw, raw.parse().content[0].text)

        def stream():
            with client.messages.stream(model="auto", max_tokens=64, messages=MESSAGES) as events:
                text = "".join(events.text_stream)
                return events.response.headers["x-routerly-cache"], text

        assert twice(whole)
        assert twice(stream)


def test_gemini(caching):
    options = genai.types.HttpOptions(base_url=caching.url, headers=HEADERS)
    client = genai.Client(api_key=caching.token, http_options=options)

    def whole():
        answer = client.models.generate_content(model="auto", contents="Say it again.")
        return answer.sdk_http_response.headers["x-routerly-cache"], answer.text

    def stream():
        chunks = list(client.models.generate_content_stream(model="auto", contents="Say it again."))
        return chunks[0].sdk_http_response.headers["x-routerly-cache"], "".join(chunk.text or "" for chunk in chunks)

    assert twice(whole)
    assert twice(stream)


def test_a_client_refuses_what_the_cache_has(chat, caching):
    def create(**fields):
        return chat.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES, **fields)

    assert [create().headers["x-routerly-cache"] for _ in range(2)] == ["miss", "hit"]
    bypass = create(extra_headers={"x-routerly-cache": "bypass"})
    assert "x-routerly-cache" not in bypass.headers
    assert create(extra_headers={"Cache-Control": "no-cache"}).headers["x-routerly-cache"] == "miss"
    hit = create()
    record = caching.record(hit.headers["x-routerly-trace-id"])
    assert (record["callType"], record["cacheHit"], record["cost"]) == ("cache", True, 0), json.dumps(record)
