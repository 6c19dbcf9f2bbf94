import anthropic
import openai
import pytest
from google import genai

from gateway import Gateway, simulate


@pytest.fixture(scope="module")
def gateway():
    running = Gateway()
    yield running
    running.stop()


@pytest.fixture
def client(gateway):
    """OpenAI's client; nothing is retried, so that each error is seen."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0, default_headers=simulate()
    ) as client:
        yield client


@pytest.fixture
def claude(gateway):
    """Anthropic's client, likewise."""
    with anthropic.Anthropic(
        base_url=gateway.url, api_key=gateway.token, max_retries=0, default_headers=simulate()
    ) as client:
        yield client


@pytest.fixture
def google(gateway):
    """Google's client, likewise."""
    options = genai.types.HttpOptions(base_url=gateway.url, headers=simulate())
    yield genai.Client(api_key=gateway.token, http_options=options)
