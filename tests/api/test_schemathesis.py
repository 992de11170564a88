"""Requests drawn from the OpenAPI document, sent to the running service as each role.

`make api-fuzz` sends thousands; `make test` a sample. Three things must never happen: a 5xx, an
answer the document does not have (status, type, body), and a word of another site's patients.
"""

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import schemathesis
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.client import token_of
from tests.api.production import Production, production
from tests.api.two_sites import SECRET, TwoSites, two_sites

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.django_db(transaction=True),
]

REQUESTS = int(os.environ.get("WBCLAB_FUZZ_REQUESTS", "600"))
ROLES = ("technician", "pathologist", "administrator", "integration", "nobody")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def service(tmp_path: Path, settings: Any) -> Iterator[Production]:
    """Web server and worker as production starts them, on the database of this test."""
    with production(tmp_path, settings) as service:
        yield service


class Run:
    """Sends what is drawn, keeps count, and collects what is wrong."""

    def __init__(self, service: Production, world: TwoSites) -> None:
        self.service, self.world = service, world
        self.sessions = {role: requests.Session() for role in ROLES}
        self.sent: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.wrong: dict[str, str] = {}

    def operation(self, role: str, operation: Any, mode: GenerationMode, examples: int) -> None:
        """Send `examples` requests of one operation as one role."""
        label = f"{operation.label} as {role}"
        headers = {"Authorization": f"Token {self.world.tokens[role]}"}
        session = self.sessions[role]

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            self.world.aim(case, role)
            self.check(label, case, case.call(session=session, headers=headers, timeout=60))
            self.sent[role] += 1

        try:
            send()
        except Unsatisfiable:
            return  # nothing about this call can be wrong

    def check(self, label: str, case: Any, response: Any) -> None:
        self.answers[response.status_code] += 1
        told = response.content + repr(response.headers).encode()
        if SECRET.encode() in told:
            self.wrong[f"{label}: leak"] = told[:500].decode(errors="replace")
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, Failure) as failure:
            failures = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            for one in failures:
                key = f"{label}: {type(one).__name__} {response.status_code}"
                self.wrong.setdefault(key, f"{one}\n{case.as_curl_command()}")


def test_no_request_of_the_document_brings_it_down(
    service: Production, record_property: Callable[[str, object], None]
) -> None:
    assert connection.vendor == "postgresql"
    world = two_sites(token_of)
    document = requests.get(f"{service.url}/api/schema/?format=json", timeout=60).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=service.url)
    operations: list[Any] = [found.ok() for found in cast("Any", schema.get_all_operations())]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    run, began = Run(service, world), time.monotonic()
    combinations = [(o, m) for o in operations for m in modes]

    def as_role(position: int, role: str) -> None:
        # Spread evenly, the rest over every n-th: a sample still meets each call and each role.
        share = REQUESTS / len(ROLES) / len(combinations)
        for number, (operation, mode) in enumerate(combinations):
            at = number + position / len(ROLES)
            if examples := int((at + 1) * share) - int(at * share):
                run.operation(role, operation, mode, examples)

    with warnings.catch_warnings(), ThreadPoolExecutor(len(ROLES)) as pool:
        warnings.simplefilter("ignore")  # hypothesis on ranges it finds narrow
        list(pool.map(as_role, range(len(ROLES)), ROLES))
    seconds = time.monotonic() - began
    figures = {
        "requests": sum(run.sent.values()),
        "by role": dict(run.sent),
        "operations": len(operations),
        "answers": dict(sorted(run.answers.items())),
        "seconds": round(seconds, 1),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)  # noqa: T201 - told for the record
    assert not run.wrong, f"{len(run.wrong)} wrong:\n" + "\n\n".join(
        f"{key}\n{text}" for key, text in run.wrong.items()
    )
    assert "Traceback" not in service.log(), service.log()[-5000:]
    assert sum(run.sent.values()) >= REQUESTS * 0.8
