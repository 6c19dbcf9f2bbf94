"""Models, embeddings, files, audio, images: everything else that OpenAI's SDK calls."""

import base64
import io

import openai
import pytest

from gateway import simulate


def test_models(client):
    ids = [model.id for model in client.models.list()]
    names = ["chat", "responses", "anthropic", "gemini"]
    assert ids == ["routerly/auto", *(f"simulated/{name}" for name in names)]
    for name in ids:
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody/nothing")
    assert caught.value.code == "not_found"


def test_embeddings(client, gateway):
    raw = client.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input=["one", "two"], dimensions=256
    )
    answer = raw.parse()
    # The SDK asks for base64 unless told otherwise, and decodes it.
    assert [len(item.embedding) for item in answer.data] == [256, 256]
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert (record["endpoint"], record["outcome"]) == ("embeddings", "success")
    assert record["inputTokens"] == answer.usage.prompt_tokens
    floats = client.embeddings.create(model="auto", input="one", dimensions=8, encoding_format="float")
    assert len(floats.data[0].embedding) == 8


def test_a_small_file(client):
    made = client.files.create(file=("notes.jsonl", b'{"a":1}\n'), purpose="batch")
    assert (made.filename, made.bytes, made.purpose) == ("notes.jsonl", 8, "batch")
    assert client.files.retrieve(made.id).id == made.id
    assert client.files.content(made.id).read()
    assert client.files.delete(made.id).deleted
    assert list(client.files.list()) == []


def test_a_large_file(client, gateway):
    size = 24 * 1024 * 1024
    content = io.BytesIO(bytes(range(256)) * (size // 256))
    raw = client.files.with_raw_response.create(file=("large.bin", content), purpose="user_data")
    assert raw.parse().bytes == size
    record = gateway.record(raw.headers["x-routerly-trace-id"])
    assert (record["endpoint"], record["outcome"]) == ("passthrough", "success")


def test_transcription(client):
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF" * 5000))
    assert heard.text
    plain = client.audio.transcriptions.create(
        model="simulated/chat", file=("a.wav", b"RIFF" * 5000), response_format="text"
    )
    assert isinstance(plain, str) and plain


def test_speech(client):
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there, you.")
    assert len(spoken.read()) >= 512
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello there, you.", response_format="wav"
    ) as streamed:
        assert streamed.headers["content-type"] == "audio/wav"
        assert sum(map(len, streamed.iter_bytes())) >= 512


def test_images(client):
    made = client.images.generate(model="gpt-image-1", prompt="a fox", n=2)
    assert len(made.data) == 2
    assert base64.b64decode(made.data[0].b64_json).startswith(b"\x89PNG")
    edited = client.images.edit(model="gpt-image-1", prompt="a fox", image=("a.png", b"\x89PNG" + bytes(64)))
    assert edited.data


def test_batches(client):
    made = client.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert made.object == "batch"
    assert client.batches.retrieve(made.id).status == "completed"


def test_any_other_path_arrives_as_it_was_sent(client, gateway):
    account = client.post("/anything/at?a=1&b=%20", cast_to=dict, body={"some": "thing"})
    text = str(account)
    assert "/v1/anything/at" in text and "a=1&b=%20" in text
    assert gateway.token not in text
