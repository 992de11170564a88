"""Results pushed to a FHIR server that runs as a process of its own, validates and applies them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from specimens.interop.channels import (
    OutgoingReport,
    PermanentFailure,
    TemporaryFailure,
    Unreachable,
    channel_for,
)
from specimens.interop.codes import default_codes
from specimens.models import Delivery, Destination
from specimens.services.deliveries_queue import claim_delivery
from specimens.services.deliveries_sending import attempt_delivery
from tests import reports
from tests.factories import Cast
from tests.interop.fhir_laboratory import amend, classified, sign
from tests.interop.outbox import make_cells
from tests.processes import die_with_parent, end, free_port, wait_until

pytestmark = pytest.mark.core

TOKEN_ENV = "WBCLAB_DELIVERY_FHIR_TOKEN"
SETTINGS = {"token_env": TOKEN_ENV}
AT = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
FHIR = channel_for("fhir")


class FhirServer:
    """The receiving server; `state` is what it has on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/fhir"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.fhir_receiver", str(self.port), str(folder)],
            cwd=Path(__file__).resolve().parents[2],
            preexec_fn=die_with_parent(),
        )
        wait_until(self._is_up, 60, "the FHIR server answers")

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.base}/metadata", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def will_answer(self, *answers: tuple[int, Any]) -> None:
        prepared = [{"status": status, "body": body} for status, body in answers]
        (self.folder / "answer.json").write_text(json.dumps(prepared))

    @property
    def transactions(self) -> list[str]:
        found: list[str] = self._state["transactions"]
        return found

    @property
    def _state(self) -> dict[str, Any]:
        path = self.folder / "state.json"
        empty: dict[str, Any] = {"resources": {}, "transactions": []}
        return json.loads(path.read_text()) if path.exists() else empty

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [
            kept["resource"]
            for name, kept in self._state["resources"].items()
            if name.startswith(f"{kind}/")
        ]

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind)
        return found

    def observations(self) -> dict[str, dict[str, Any]]:
        """By the end of their identifier: percent-blast."""
        return {
            one["identifier"][0]["value"].partition("-")[2]: one for one in self.all("Observation")
        }


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    server = FhirServer(tmp_path_factory.mktemp("fhir"))
    yield server
    end(server.process, signal.SIGTERM)


@pytest.fixture
def server(_server: FhirServer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> FhirServer:
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv(TOKEN_ENV, "receiver-token")
    _server.will_answer()
    httpx.delete(_server.base, trust_env=False)
    return _server


def outgoing(number: str, event: str = "final", **values: Any) -> OutgoingReport:
    content = values.pop("content", None) or reports.content(reports.MANY)
    specimen = content["specimen"] | {"accession_number": number, "placer_number": f"O{number}"}
    given: dict[str, Any] = {
        "message_id": f"m-{number}-{event}",
        "event": event,
        "content": content | {"specimen": specimen},
        "previous": None,
        "created_at": AT,
        "pdf": lambda: b"%PDF-1.4 report",
        "codes": default_codes().overlaid({}, "main"),
        "sources": [],
        "report_id": "1",
        "previous_report_id": "",
    }
    return OutgoingReport(**(given | values))


def push(server: FhirServer, report: OutgoingReport, **settings: Any) -> str:
    chosen = SETTINGS | settings
    payload = FHIR.render(report, server.base, chosen)
    return FHIR.send(payload, report.message_id, server.base, chosen).text


def test_a_result_sent_twice_is_there_once(server: FhirServer) -> None:
    report = outgoing("T1")
    assert "has taken" in push(server, report)
    before = {one["id"] for one in server.all("Observation")}
    push(server, report)
    assert server.transactions[-2:] == ["m-T1-final"] * 2
    assert {one["id"] for one in server.all("Observation")} == before
    mine = [one for one in server.all("DiagnosticReport") if one["identifier"][0]["value"] == "T1"]
    assert len(mine) == 1
    assert mine[0]["presentedForm"][0]["data"]
    names = {one["id"] for one in server.all("Observation")}
    for reference in mine[0]["result"]:
        assert reference["reference"].removeprefix("Observation/") in names


def test_the_same_report_is_the_same_bytes(server: FhirServer) -> None:
    first = FHIR.render(outgoing("T2"), server.base, SETTINGS)
    assert first == FHIR.render(outgoing("T2"), server.base, SETTINGS)
    assert first.content_type == "application/fhir+json"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, PermanentFailure), (403, PermanentFailure), (422, PermanentFailure),
     (409, TemporaryFailure), (500, TemporaryFailure), (501, TemporaryFailure),
     (429, Unreachable), (503, Unreachable)],
)  # fmt: skip
def test_what_a_server_refuses_with_is_told(
    status: int, kind: type[Exception], server: FhirServer
) -> None:
    text = "The panel code is not known here."
    issue = {"severity": "error", "code": "invalid", "details": {"text": text}}
    server.will_answer((status, {"resourceType": "OperationOutcome", "issue": [issue]}))
    with pytest.raises(kind) as failure:
        push(server, outgoing("T3"))
    assert type(failure.value) is kind
    assert str(status) in str(failure.value)
    if status in (400, 403, 409, 422, 500):
        assert text.rstrip(".") in str(failure.value)


def test_a_page_of_a_proxy_is_no_receipt(server: FhirServer) -> None:
    server.will_answer((200, "<html>Log in</html>"))
    with pytest.raises(TemporaryFailure, match="transaction-response"):
        push(server, outgoing("T4"))


def test_a_wrong_or_missing_token_is_held_at_once(
    server: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "wrong")
    with pytest.raises(PermanentFailure, match=r"No such token.*Look at the token"):
        push(server, outgoing("T5"))
    monkeypatch.delenv(TOKEN_ENV)
    with pytest.raises(PermanentFailure, match=TOKEN_ENV):
        push(server, outgoing("T5"))


def test_an_address_nobody_allowed_is_never_called(server: FhirServer, settings: Any) -> None:
    settings.DELIVERY_ALLOWED_HOSTS = []
    with pytest.raises(PermanentFailure, match="Not sent"):
        push(server, outgoing("T6"))


def test_the_probe_says_what_answers(server: FhirServer) -> None:
    assert "4.0.1" in FHIR.probe(server.base, SETTINGS).text


@pytest.mark.parametrize(
    ("address", "given", "field"),
    [
        ("ftp://x/fhir", {}, "address"),
        ("https://x/fhir?a=b", {}, "address"),
        ("https://x/fhir", {"token": "in clear"}, "token"),
        ("https://x/fhir", {"token_env": "HOME"}, "token_env"),
        ("https://x/fhir", {"pdf": "no"}, "pdf"),
        ("https://x/fhir", {"timeout_seconds": True}, "timeout_seconds"),
        ("https://x/fhir", {"timeout_seconds": 1000}, "timeout_seconds"),
        ("https://x/fhir", {"systems": {"plaser": "x:y"}}, "systems"),
        ("https://x/fhir", {"systems": ["x"]}, "systems"),
    ],
)
def test_a_configuration_that_cannot_work_is_named(
    address: str, given: dict[str, Any], field: str
) -> None:
    assert list(FHIR.problems(address, given)) == [field]


def test_settings_change_what_is_sent(server: FhirServer) -> None:
    systems = {"placer": "https://hospital.example/orders"}
    asked = {"pdf": False, "provenance": False, "systems": systems}
    assert FHIR.problems(server.base, SETTINGS | asked) == {}
    payload = FHIR.render(outgoing("T7"), server.base, SETTINGS | asked)
    kinds = [one["resource"]["resourceType"] for one in json.loads(payload.content)["entry"]]
    assert "Provenance" not in kinds
    push(server, outgoing("T7"), **asked)
    order = next(
        one for one in server.all("ServiceRequest") if one["identifier"][0]["value"] == "OT7"
    )
    assert order["identifier"][0]["system"] == "https://hospital.example/orders"
    assert "OT7" not in [one["identifier"][0].get("system") for one in server.all("Patient")]


def test_a_machine_result_is_told_as_one(server: FhirServer) -> None:
    content = reports.content(version=0, signature=None)

    def no_pdf() -> bytes:
        raise PermanentFailure("A preliminary result has no signed document.")

    push(server, outgoing("T8", "preliminary", content=content, pdf=no_pdf))
    assert server.one("DiagnosticReport")["status"] == "partial"
    assert {one["status"] for one in server.all("Observation")} == {"preliminary"}
    assert server.all("Practitioner") == server.all("Provenance") == []
    push(server, outgoing("T8"))
    assert server.one("DiagnosticReport")["status"] == "final"
    assert {one["status"] for one in server.all("Observation")} == {"final"}


@pytest.mark.django_db
def test_a_case_from_machine_result_to_amendment(cast: Cast, server: FhirServer) -> None:
    """By the outbox itself: preliminary, final, corrected; what was taken back says so."""
    cast.site.target_cells = 1
    cast.site.save()
    destination = Destination.objects.create(
        site=cast.site, name="EHR", kind="fhir", address=server.base, settings=SETTINGS,
        events=["final", "corrected"],
    )  # fmt: skip
    case = classified(cast.site, make_cells(), cast.technician, accession_number="C1")
    sign(case, cast.pathologist, monocyte="blast")
    _send_next(destination)
    report = server.one("DiagnosticReport")
    assert report["status"] == "final"
    assert server.one("Patient")["name"][0]["family"] == "Musterfrau"
    assert server.observations()["percent-blast"]["status"] == "final"
    assert server.observations()["percent-blast"]["valueQuantity"]["value"] == 25.0
    first = server.one("Provenance")

    amend(case, cast.second_pathologist, monocyte="monocyte")
    _send_next(destination)
    assert server.one("DiagnosticReport")["status"] == "corrected"
    assert server.one("DiagnosticReport")["id"] == report["id"]
    given = server.observations()
    assert given["percent-blast"]["status"] == "entered-in-error"
    assert given["absolute-blast"]["status"] == "entered-in-error"
    assert given["percent-monocyte"]["status"] == "corrected"
    assert given["percent-neutrophil"]["status"] == "amended"
    assert len(server.all("Practitioner")) == 2
    assert server.all("Provenance")[0]["id"] == first["id"]
    assert len(server.all("Provenance")) == 2
    assert not Delivery.objects.exclude(state="delivered").exists()


def _send_next(destination: Destination) -> None:
    delivery = claim_delivery(destination_id=destination.pk, worker="w")
    assert delivery is not None
    attempt_delivery(delivery=delivery)
    delivery.refresh_from_db()
    assert delivery.state == "delivered", delivery.last_error
