"""The OpenAI SDK with a token that the command line has just made."""

import json
import os
import subprocess
import tempfile

import openai
import pytest

from gateway import ROOT, simulate


def test_a_token_of_the_command_line_serves_the_sdk(gateway):
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "ROUTERLY_URL": gateway.url, "PATH": os.environ["PATH"]}

        def routerly(*arguments, **more):
            command = [os.environ.get("ROUTERLY_BIN") or ROOT / "target/debug/routerly", *arguments, "--json"]
            ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, **more)
            return json.loads(ended.stdout)

        routerly("setup", "--email", "me@example.org", "--password-stdin", input="correct horse")
        routerly("model", "add", "--id", "sim/cli", "--provider", "simulated")
        routerly("project", "create", "--name", "From the shell", "--models", "sim/cli")
        made = routerly("token", "create", "from-the-shell", "--limit", "*:calls:period:daily:2")
        with openai.OpenAI(
            base_url=f"{gateway.url}/v1", api_key=made["token"], max_retries=0, default_headers=simulate()
        ) as client:
            for _ in range(2):
                answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hello"}])
                assert answer.choices[0].message.content
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hello"}])
            assert refused.value.status_code == 503
            assert refused.value.code == "budget_exceeded"
        routerly("token", "remove", "from-the-shell", made["tokenInfo"]["id"], "--yes")
