"""Alerts, taken by aiosmtpd: a mail server that is not of this project's making."""

import asyncio
import email
import email.policy
import queue
import threading

import openai
import pytest
from aiosmtpd.smtp import SMTP

from gateway import DEADLINE_SECONDS, Gateway, simulate, wait_for


class MailServer:
    """Takes every mail on a port of its own."""

    def __init__(self):
        self._mails = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = self._loop.create_server(lambda: SMTP(self, loop=self._loop), "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(DEADLINE_SECONDS)
        self.port = self._server.sockets[0].getsockname()[1]

    async def handle_DATA(self, server, session, envelope):
        self._mails.put((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"

    def next_mail(self):
        """Sender, recipients and the message itself."""
        sender, recipients, content = self._mails.get(timeout=DEADLINE_SECONDS)
        return sender, recipients, email.message_from_bytes(content, policy=email.policy.default)

    async def _end(self):
        self._server.close()
        # Connections that the gateway left behind end as tasks of the loop.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(DEADLINE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()


@pytest.fixture
def mails():
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def gateway():
    running = Gateway()
    yield running
    running.stop()


def test_an_exhausted_budget_reaches_a_mail_server(gateway, mails):
    channel = {
        "id": "mail",
        "provider": "smtp",
        "host": "127.0.0.1",
        "port": mails.port,
        "fromAddress": "gateway@example.org",
        "fromName": "Gäteway",
        "to": ["ops@example.org", "second@example.org"],
        "events": ["budget.exhausted"],
    }
    gateway.edit(
        "config/settings.json",
        lambda settings: settings.update(notifications={"channels": [channel]}, webhookAllowHosts=["127.0.0.1"]),
    )
    budget = {"metric": "calls", "windowType": "period", "period": "yearly", "value": 3}
    gateway.edit("config/projects.json", lambda projects: projects[0].update(budgets=[budget]))
    messages = [{"role": "user", "content": "Hello!"}]
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0, default_headers=simulate()
    ) as client:

        def is_exhausted():
            try:
                client.chat.completions.create(model="auto", messages=messages)
            except openai.InternalServerError as error:
                return error.status_code == 503
            return False

        wait_for("the limit", is_exhausted)
    sender, recipients, message = mails.next_mail()
    assert sender == "gateway@example.org"
    assert recipients == ["ops@example.org", "second@example.org"]
    assert message["from"].addresses[0].display_name == "Gäteway"
    assert message["subject"].startswith("[routerly] Budget of project ") and "exhausted" in message["subject"]
    assert message["message-id"].endswith("@example.org>")
    assert "3 calls" in message.get_content()
