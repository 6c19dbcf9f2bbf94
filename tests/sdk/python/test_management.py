"""The management API against its own OpenAPI document, by requests that are made from the document."""

import json
import urllib.request

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway import Gateway

#: Requests of each operation; the whole takes some ten seconds.
EXAMPLES = 15
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Ends the sign-in that all the others need, and what signs in slows down after a few failures, as it should.
LEFT_OUT = r"^/api/(auth/|setup/first-admin|me$)"


@pytest.fixture(scope="module")
def managed():
    """A gateway of its own: what is made up for it would be in the way of the others."""
    running = Gateway()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(managed):
    """A sign-in of the first administrator."""
    body = json.dumps({"email": "root@example.org", "password": "correct horse"}).encode()
    request = urllib.request.Request(f"{managed.url}/api/setup/first-admin", data=body)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["token"]


def test_answers_are_what_the_document_says(managed, token):
    """No answer is a fault of ours, and each one has a status and a body that the document names."""
    headers = {"authorization": f"Bearer {token}"}
    document = schemathesis.openapi.from_url(f"{managed.url}/api/openapi.json", headers=headers)
    failures = []
    count = 0
    for found in document.exclude(path_regex=LEFT_OUT).get_all_operations():
        operation = found.ok()
        count += 1

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def holds(case):
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            holds()
        except* Exception as found:
            failures += [f"{operation.label}: {error}" for error in found.exceptions]
    assert count > 40, "the document was read"
    assert not failures, "\n".join(failures)
