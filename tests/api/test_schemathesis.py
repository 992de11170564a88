"""Requests drawn from the OpenAPI document, sent to the running service as each role.

`make api-fuzz` sends thousands; `make test` a sample. Three things must never happen: a 5xx, an
answer the document does not have (status, type, body), and a word of another site's patients.
"""

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
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
from schemathesis.core.parameters import ParameterLocation
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

REQUESTS = int(os.environ.get("WBCLAB_FUZZ_REQUESTS", "300"))
ROLES = ("technician", "pathologist", "administrator", "integration", "nobody")
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
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
    """Sends what is drawn as one role, keeps count, and collects what is wrong.

    `shift` in [0, 1) moves the choice of a sample, so that the roles do not all leave out the same.
    """

    def __init__(self, service: Production, world: TwoSites, role: str, shift: float) -> None:
        self.service, self.world, self.role, self.shift = service, world, role, shift
        self.headers = {"Authorization": f"Token {world.tokens[role]}"}
        self.session = requests.Session()
        self.answers: Counter[int] = Counter()
        self.wrong: dict[str, str] = {}

    def all(self, operations: list[Any]) -> None:
        """Send this role's share of the requests, spread evenly over all calls, right and wrong."""
        combinations = [
            (operation, mode)
            for operation in operations
            for mode in MODES
            if mode is GenerationMode.POSITIVE or _can_be_wrong(operation)
        ]
        share = REQUESTS / len(ROLES) / len(combinations)
        for number, (operation, mode) in enumerate(combinations):
            at = number * share + self.shift
            if examples := int(at + share) - int(at):
                self.operation(operation, mode, examples)

    def operation(self, operation: Any, mode: GenerationMode, examples: int) -> None:
        """Send `examples` requests of one operation."""
        label = f"{operation.label} as {self.role}"

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
            self.world.aim(case)
            answer = case.call(session=self.session, headers=self.headers, timeout=60)
            self.check(label, case, answer)

        try:
            send()
        except Unsatisfiable:
            return  # nothing about this call can be wrong

    def check(self, label: str, case: Any, response: Any) -> None:
        self.answers[response.status_code] += 1
        told = response.content + repr(response.headers).encode()
        if SECRET.lower().encode() in told.lower():
            self.wrong[f"{label}: leak"] = told[:500].decode(errors="replace")
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, Failure) as failure:
            failures = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            for one in failures:
                key = f"{label}: {type(one).__name__} {response.status_code}"
                self.wrong.setdefault(key, f"{one}\n{case.as_curl_command()}")


def _can_be_wrong(operation: Any) -> bool:
    """Whether anything about a call can be: any text will do in its path and its headers.

    Hypothesis finds that out itself, by drawing four hundred times; every role would wait for it.
    """
    anything = {"type": "string"}
    return bool(list(operation.body)) or any(
        parameter.location is ParameterLocation.QUERY
        or parameter.definition.get("schema") != anything
        for parameter in operation.iter_parameters()
    )


_WORK: dict[str, Any] = {}  # what the processes of the roles find when they are forked


def _as_role(role: str) -> tuple[Counter[int], dict[str, str]]:
    run: Run = _WORK[role]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hypothesis on ranges it finds narrow
        run.all(_WORK["operations"])
    return run.answers, run.wrong


def test_no_request_of_the_document_brings_it_down(
    service: Production, record_property: Callable[[str, object], None]
) -> None:
    assert connection.vendor == "postgresql"
    world = two_sites(token_of)
    document = requests.get(f"{service.url}/api/schema/?format=json", timeout=60).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=service.url)
    operations: list[Any] = [found.ok() for found in cast("Any", schema.get_all_operations())]
    began = time.monotonic()
    runs = [Run(service, world, role, at / len(ROLES)) for at, role in enumerate(ROLES)]
    _WORK.update({run.role: run for run in runs}, operations=operations)
    # A process for each: drawing takes longer than answering. They use the network only.
    with get_context("fork").Pool(len(ROLES)) as pool:
        results = pool.map(_as_role, ROLES)
    seconds = time.monotonic() - began
    by_role = {role: answers.total() for role, (answers, _) in zip(ROLES, results, strict=True)}
    answers = sum((answers for answers, _ in results), Counter[int]())
    wrong = {key: text for _, found in results for key, text in found.items()}
    figures = {
        "requests": answers.total(),
        "by role": by_role,
        "operations": len(operations),
        "answers": dict(sorted(answers.items())),
        "seconds": round(seconds, 1),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)  # noqa: T201 - told for the record
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n\n".join(
        f"{key}\n{text}" for key, text in wrong.items()
    )
    assert "Traceback" not in service.log(), service.log()[-5000:]
    assert answers.total() >= REQUESTS * 0.8
