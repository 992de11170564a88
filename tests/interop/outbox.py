"""What the tests of the outbox share: signed cases, destinations, processes to kill."""

import json
import os
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import make_password

from classifier.models import ModelVersion
from specimens.models import Destination, Report, Site, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from specimens.services.signing import sign_out_report, start_amendment
from tests.factories import Cast
from tests.portal.conftest import METADATA, Cells
from tests.processes import die_with_parent, free_port, kill_all, wait_until

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse"
SECRET = "a-secret-of-more-than-sixteen-bytes"
SECRET_ENV = "WBCLAB_DELIVERY_TEST_SECRET"


def make_cells() -> Cells:
    version, _ = ModelVersion.objects.get_or_create(
        digest="d" * 64, defaults={"name": "dm-fnet", "version": "1.0", "metadata": METADATA}
    )
    return Cells(version)


def webhook(site: Site, address: str, **values: Any) -> Destination:
    values = {"name": f"Receiver {Destination.objects.count() + 1}"} | values
    return Destination.objects.create(
        site=site,
        kind="webhook",
        address=address,
        settings={"secret_env": SECRET_ENV, "timeout_seconds": 10},
        **values,
    )


def reviewed_case(cast: Cast, cells: Cells) -> Specimen:
    """Return a case of one reviewed cell, which the site lets sign."""
    Site.objects.filter(pk=cast.site.pk).update(target_cells=1)
    case = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    cell = cells.classified(case, thumbnail=False)
    decisions = [Decision(cell.pk, "neutrophil", 0)]
    review_cells(actor=cast.technician, specimen=case, decisions=decisions)
    return case


def sign(actor: User, case: Specimen) -> Report:
    revision = case_of(Specimen.objects.get(pk=case.pk)).revision
    return sign_out_report(actor=actor, specimen=case, password=PASSWORD, seen_revision=revision)


def amend(actor: User, case: Specimen) -> Report:
    start_amendment(actor=actor, specimen=case, reason="Looked again.", password=PASSWORD)
    return sign(actor, case)


def cheap_passwords(cast: Cast) -> None:
    """Let each of a hundred signatures cost no Argon2."""
    User.objects.filter(pk=cast.pathologist.pk).update(password=make_password(PASSWORD))
    cast.pathologist.refresh_from_db()


def mllp(site: Site, address: str) -> Destination:
    return Destination.objects.create(
        site=site, kind="hl7", address=address, settings={"timeout_seconds": 10}, name="HIS"
    )


class ReceiverProcess:
    """A receiver as a process; it keeps its port and its log over restarts."""

    def __init__(self, folder: Path, seconds: float = 0.0, kind: str = "webhook") -> None:
        self.kind = kind
        self.port = free_port()
        self.log = folder / f"received-{self.port}.jsonl"
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/reports"

    @property
    def host_and_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it listens."""
        module = f"tests.interop.{self.kind}_receiver"
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.port), str(self.log), str(self.seconds)],
            cwd=ROOT,
            preexec_fn=die_with_parent(),
        )
        wait_until(
            lambda: process.poll() is not None or self._listens(), 60, f"{self.kind} listens"
        )
        assert process.poll() is None, f"the {self.kind} receiver ended with {process.returncode}"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            kill_all([self._process.pid])
            self._process.wait()
            self._process = None

    def received(self) -> list[dict[str, Any]]:
        """Every request in the order it came, repeats included; a torn last line is left out."""
        lines = []
        if self.log.exists():
            for line in self.log.read_text().splitlines():
                with suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        return lines


def first_of_each(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a receiver keeps that de-duplicates by the message id."""
    return list({line["id"]: line for line in reversed(received)}.values())[::-1]


def versions_by_specimen(received: list[dict[str, Any]]) -> dict[str, list[int]]:
    versions = defaultdict(list)
    for line in received:
        versions[line["specimen"]].append(line["version"])
    return dict(versions)


def environment(**values: str) -> dict[str, str]:
    """What a deliverer of the tests runs with: short pauses, and loopback allowed."""
    return (
        os.environ
        | {
            SECRET_ENV: SECRET,
            "WBCLAB_DELIVERY_ALLOWED_HOSTS": "127.0.0.1",
            "WBCLAB_DELIVERY_BACKOFF_SECONDS": "0.1",
            "WBCLAB_DELIVERY_BACKOFF_CAP_SECONDS": "0.5",
            "WBCLAB_LEASE_SECONDS": "2",
            "WBCLAB_SWEEP_SECONDS": "0.3",
            "WBCLAB_PYTHON": sys.executable,
        }
        | values
    )
