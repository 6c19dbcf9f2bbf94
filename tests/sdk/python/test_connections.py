"""Clients that leave, stay, and come in crowds."""

import asyncio
import re
import urllib.request

import anthropic
import openai
import pytest

from gateway import simulate, wait_for

HELLO = [{"role": "user", "content": "Hello!"}]
ASK = {"model": "auto", "max_tokens": 64, "messages": HELLO}
#: Three events, and then nothing more: only a client that leaves ends such a stream.
STALLED = simulate(outputTokens=64, stallAfterEvents=3)


def closed_by_client(gateway, response):
    record = gateway.record(response.headers["x-routerly-trace-id"])
    assert (record["outcome"], record["endedBy"]) == ("client_closed", "client")
    return record


def test_a_chat_stream_that_is_closed(client, gateway):
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True, extra_headers=STALLED)
    next(stream)
    stream.close()
    record = closed_by_client(gateway, stream.response)
    assert record["usageSource"] == "estimated"


def test_a_responses_stream_that_is_closed(client, gateway):
    stream = client.responses.create(model="auto", input="x", stream=True, extra_headers=STALLED)
    next(stream)
    stream.close()
    closed_by_client(gateway, stream.response)


def test_a_messages_stream_that_is_closed(claude, gateway):
    with claude.messages.stream(**ASK, extra_headers=STALLED) as stream:
        next(iter(stream))
        response = stream.response
    closed_by_client(gateway, response)


def test_an_asynchronous_stream_that_is_cancelled(gateway):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token) as client:
            stream = await client.chat.completions.create(
                model="auto", messages=HELLO, stream=True, extra_headers=STALLED
            )
            begun = asyncio.Event()

            async def read():
                async for _ in stream:
                    begun.set()

            reading = asyncio.create_task(read())
            await begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await stream.close()
            return stream.response

    closed_by_client(gateway, asyncio.run(ask()))


def test_a_client_that_gives_up_before_the_answer(client, gateway):
    known = {record["traceId"] for record in gateway.records()}
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(
            model="chat", messages=HELLO, extra_headers=simulate(ttftMs=600_000)
        )

    def look():
        return [
            record
            for record in gateway.records()
            if record["traceId"] not in known and record["requestedModel"] == "chat"
        ]

    record = wait_for("the record of the abandoned request", look)[0]
    assert (record["outcome"], record["endedBy"]) == ("client_closed", "client")


def counter(gateway, name):
    with urllib.request.urlopen(f"{gateway.url}/metrics") as page:
        text = page.read().decode()
    return int(re.search(rf"^{name} (\d+)$", text, re.M).group(1))


def test_one_connection_serves_many_calls(client, gateway):
    def accepted():
        return counter(gateway, "routerly_connections_accepted_total")

    client.models.list()
    before = accepted()
    for _ in range(5):
        client.chat.completions.create(model="auto", messages=HELLO)
        list(client.responses.create(model="auto", input="x", stream=True))
        client.embeddings.create(model="auto", input="x", dimensions=8)
        client.files.create(file=("a.txt", b"x" * 100_000), purpose="batch")
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="auto", messages=HELLO, extra_headers=simulate(status=429))
    assert accepted() == before + 1, "only the second look at the metrics needed a connection"


def test_streams_leave_their_connection_usable(gateway):
    # OpenAI's synchronous client hangs up on `[DONE]` without reading on; the asynchronous one reads to the end.
    async def ask():
        async with (
            openai.AsyncOpenAI(
                base_url=f"{gateway.url}/v1", api_key=gateway.token, default_headers=simulate()
            ) as one,
            anthropic.AsyncAnthropic(
                base_url=gateway.url, api_key=gateway.token, default_headers=simulate()
            ) as other,
        ):
            for _ in range(5):
                async for _ in await one.chat.completions.create(model="auto", messages=HELLO, stream=True):
                    pass
                async with other.messages.stream(**ASK) as stream:
                    await stream.get_final_message()

    before = counter(gateway, "routerly_connections_accepted_total")
    asyncio.run(ask())
    assert counter(gateway, "routerly_connections_accepted_total") == before + 3


def test_fifty_streams_at_once(gateway):
    async def chat(client):
        stream = await client.chat.completions.create(
            model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        return [chunk async for chunk in stream][-1].usage.completion_tokens

    async def messages(client):
        async with client.messages.stream(**ASK) as stream:
            return (await stream.get_final_message()).usage.output_tokens

    async def everybody():
        header = simulate(outputTokens=40, tokensPerSecond=200)
        async with (
            openai.AsyncOpenAI(
                base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0, default_headers=header
            ) as one,
            anthropic.AsyncAnthropic(
                base_url=gateway.url, api_key=gateway.token, max_retries=0, default_headers=header
            ) as other,
        ):
            calls = [chat(one) for _ in range(25)] + [messages(other) for _ in range(25)]
            return await asyncio.gather(*calls)

    assert asyncio.run(everybody()) == [40] * 50
