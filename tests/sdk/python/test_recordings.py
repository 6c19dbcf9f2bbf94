"""Recorded answers of real providers, read by every SDK but the provider's own: each reads what that one does.

The recordings are not part of the repository ($RECORDINGS, or `../shared/recordings`); without them this says so.
"""

import contextlib
import http.server
import json
import os
import pathlib
import threading
import types

import openai
import pytest

from clients import CLIENTS
from gateway import ROOT, Gateway, wait_for

#: Folder of the recordings of a dialect, and the client that speaks it.
FOLDERS = {
    "openai_chat": "chat",
    "openai_responses": "responses",
    "anthropic_messages": "messages",
    "gemini": "gemini",
}
MODELS = {
    "chat": ("openai", "openai-chat", "gpt-4.1", "/v1"),
    "compatible": ("custom", "openai-chat", "llama", "/v1"),
    "responses": ("openai", "openai-responses", "gpt-4.1", "/v1"),
    "messages": ("anthropic", "anthropic-messages", "claude-sonnet-4-5", ""),
    "gemini": ("gemini", "gemini", "gemini-2.5-flash", "/v1beta"),
}
#: Providers whose counts are those of the dialect; the others' are evened out on the way.
PLAIN_COUNTS = {
    "chat": {"openai", "azure"},
    "responses": {"openai", "azure"},
    "messages": {"anthropic"},
    "gemini": {"google", "vertex"},
}
#: What a client of another dialect reads otherwise, by design: see docs/dialects.md, "Answers".
OTHERWISE = (
    '"custom_tool_call"',
    '"inlineData"',
    '"image_generation_call"',
    '"images":',
    '"refusal":"',
    "response.refusal",
    '"toolUsePromptTokenCount"',
    '"function_call":{',
    '"server_error"',
    # The gateway has it go on, and the player says the same again.
    '"pause_turn"',
    # Thoughts among the texts, which Mistral has in lists.
    '"thinking":[{',
    # The counts of all passes of one answer.
    '"iterations":[',
)


def folder():
    named = os.environ.get("RECORDINGS")
    places = [pathlib.Path(named)] if named else [parent / "shared/recordings" for parent in ROOT.parents]
    return next((place for place in places if place.is_dir()), None)


def recordings(name):
    found = []
    for path in sorted((folder() / name).glob("*.json")):
        recording = json.loads(path.read_text())
        answer = recording["response"].get("sse" if recording["streaming"] else "body")
        if not recording["request"] or recording["response"]["status"] != 200 or not answer:
            continue
        plain = answer.replace('": ', '":')
        if not any(word in plain for word in OTHERWISE):
            found.append((recording["id"], recording["provider"], recording["streaming"], answer))
    return found


class Player(http.server.ThreadingHTTPServer):
    """A provider that answers everything with the recording that is set."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.token = "key"
        self.streaming, self.answer = False, b"{}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if self.server.streaming else "application/json")
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def player():
    if folder() is None:
        pytest.skip("no recordings: nothing is replayed")
    with Player() as playing:
        yield playing
        playing.shutdown()


@pytest.fixture(scope="module")
def translating(player):
    """A gateway with a model of each dialect at the player."""
    running = Gateway()

    def add(models):
        for name, (provider, dialect, upstream, base) in MODELS.items():
            cost = {"inputPerMillion": 1, "outputPerMillion": 2}
            models.append(
                {"id": f"up/{name}", "name": name, "provider": provider, "dialect": dialect, "apiKey": "key"}
                | {"upstreamModelId": upstream, "endpoint": player.url + base, "cost": cost}
                | {"contextWindow": 1_000_000}
            )

    running.edit("config/models.json", add)
    entries = [{"modelId": f"up/{name}"} for name in MODELS]
    running.edit("config/projects.json", lambda projects: projects[0]["models"].extend(entries))
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.token, max_retries=0)

    def is_there():
        with contextlib.suppress(openai.InternalServerError):
            try:
                client.chat.completions.create(model="up/chat", messages=[{"role": "user", "content": "x"}])
            except openai.NotFoundError:
                return False
        return True

    wait_for("the player's models", is_there)
    yield running
    running.stop()


def read(client, model, streaming):
    """What an SDK reads, or the kind of error that it raises."""
    try:
        answer = client.ask(model, [client.user("Hello!")], stream=streaming)
    except Exception as error:  # noqa: BLE001: SDKs fail of what they do not expect in many ways.
        return types.SimpleNamespace(error=error)
    return types.SimpleNamespace(
        error=None,
        text=answer.text,
        calls=[(call.name, call.arguments or {}) for call in answer.calls],
        finish=answer.finish,
        thinking=answer.thinking,
        tokens=(answer.input_tokens or 0, answer.output_tokens or 0),
    )


def differences(original, seen, is_plain):
    if seen.error:
        return [repr(seen.error)]
    # A call is a call, whatever the server says of its end.
    if original.calls and original.finish == "stop":
        original.finish = "tools"
    found = []
    for name in ("text", "calls", "finish", "thinking", "tokens"):
        expected, got = getattr(original, name), getattr(seen, name)
        # Servers have fields of their own for thoughts, which the stock SDK does not show.
        is_unseen = name == "thinking" and not expected
        is_counted_otherwise = name == "tokens" and not is_plain
        if expected != got and not is_unseen and not is_counted_otherwise:
            found.append(f"{name}: {expected!r} is {got!r}")
    return found


# A recorded model may be old, and what a compatible server says not what the SDK's types have.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "reader"), [(name, reader) for name, own in FOLDERS.items() for reader in CLIENTS if reader != own]
)
def test_what_the_providers_own_sdk_reads(name, reader, player, translating):
    own = FOLDERS[name]
    direct, through = CLIENTS[own](player), CLIENTS[reader](translating)
    wrong, compared, unreadable = [], 0, 0
    for identity, provider, streaming, answer in recordings(name):
        player.streaming, player.answer = streaming, answer.encode()
        original = read(direct, MODELS[own][2], streaming)
        if original.error:
            unreadable += 1
            continue
        compared += 1
        is_plain = provider in PLAIN_COUNTS[own]
        model = "compatible" if own == "chat" and not is_plain else own
        found = differences(original, read(through, f"up/{model}", streaming), is_plain)
        wrong += [f"{identity}: {difference}"[:600] for difference in found]
    print(f"{compared} compared, {unreadable} that the provider's own SDK does not read")
    assert compared > 2 * unreadable
    assert not wrong, "\n".join(wrong)
