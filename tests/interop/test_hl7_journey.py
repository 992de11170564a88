"""An order by HL7, through the whole running service, and its result back: real sockets only."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message as parse_independently

from classifier.synthetic import draw_cells
from specimens.interop.hl7.message import Message, parse_message
from tests.interop.hl7_golden import changed, golden
from tests.interop.hl7_listener import Listener, running_listener
from tests.interop.hl7_receiver import Receiver, running_receiver
from tests.processes import wait_until
from tests.service import ROOT, Service, running_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CELLS = {"Neutrophil": 4, "Lymphocyte": 2}
NUMBER = "26-0078"
ORDER = golden("oml_o21").partition(b"ORC|NW|ORD-79")[0]  # the first of its two orders


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


class Person:
    """Somebody at a browser: a session, and the token its forms carry."""

    def __init__(self, service: Service, role: str) -> None:
        account = service.account(role)
        self.password = account["password"]
        self.http = httpx.Client(base_url=service.url, timeout=30, follow_redirects=True)
        self.http.get("/login")
        form = {"username": account["username"], "password": self.password}
        assert self.post("/login", data=form).status_code == 200

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.close()

    def post(self, path: str, **values: Any) -> httpx.Response:
        headers = {"X-CSRFToken": self.http.cookies["csrftoken"], "Accept": "application/json"}
        return self.http.post(path, headers=headers, **values)

    def get(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text[:500]
        return answer.text


@contextmanager
def _laboratory(home: Path, receiver: Receiver) -> Iterator[tuple[Service, Listener]]:
    """Web, worker and deliverer, the HL7 listener beside them, and the hospital's address."""
    with running_service(home, WBCLAB_DELIVERY_BACKOFF_SECONDS="0.2") as service:
        setup = (
            "from specimens.models import Destination, Site\n"
            "site = Site.objects.get(code='demo')\n"
            "site.target_cells = 5\n"
            "site.save()\n"
            "Destination.objects.create(site=site, name='HIS', kind='hl7', "
            f"address='{receiver.address}', settings={{'receiving_application': 'LIS'}})\n"
        )
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", setup],
            cwd=ROOT, check=True, capture_output=True, timeout=120,
            env={k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
            | {"WBCLAB_HOME": str(home)},
        )  # fmt: skip
        with running_listener(home) as listener:
            yield service, listener


def _acknowledged(raw: bytes) -> tuple[str, str]:
    msa = parse_message(raw).first("MSA")
    assert msa is not None
    return msa.text(1), msa.text(2)


def _count(listener: Listener, table: str, where: str) -> int:
    found: int = listener.rows(f"SELECT count(*) FROM specimens_{table} WHERE {where}")[0][0]  # noqa: S608
    return found


def _bring_in_cells(technician: Person, specimen: int, listener: Listener) -> None:
    files = []
    for n, (_, image) in enumerate(draw_cells(seed=7, counts=CELLS)):
        content = BytesIO()
        image.save(content, "PNG")
        files.append(("images", (f"{n}.png", content.getvalue(), "image/png")))
    answer = technician.post(f"/specimens/{specimen}/images", files=files)
    assert answer.status_code in (200, 201), answer.text
    query = f"SELECT state FROM specimens_specimen WHERE id={specimen}"  # noqa: S608
    wait_until(
        lambda: listener.rows(query) == [("preclassified",)], 120, "the cells are classified"
    )


def _review_and_sign(pathologist: Person, specimen: int) -> dict[str, Any]:
    cells = json.loads(pathologist.get(f"/specimens/{specimen}/cells.json"))["cells"]
    assert len(cells) == sum(CELLS.values())
    decisions = [
        {
            "cell": cell["id"],
            "label": "neutrophil" if cell["proposed"] == "unidentified" else cell["proposed"],
            "revision": cell["revision"],
        }
        for cell in cells
    ]
    answer = pathologist.post(f"/specimens/{specimen}/reviews", json={"decisions": decisions})
    assert answer.status_code == 200, answer.text
    gate = json.loads(pathologist.get(f"/api/v1/specimens/{specimen}/sign-out"))
    assert gate["obstacles"] == []
    signed = pathologist.post(
        f"/api/v1/specimens/{specimen}/sign-out",
        json={
            "password": pathologist.password,
            "seen_revision": gate["revision"],
            "acknowledged": {one["key"]: "Dr Ward, 12:40" for one in gate["critical"]},
        },
    )
    assert signed.status_code == 201, signed.text
    body: dict[str, Any] = signed.json()
    return body


def _numbers(message: Message) -> set[tuple[str, ...]]:
    """Placer and filler number with who gave them, in ORC and in OBR."""
    return {
        tuple(segment.text(field, n) for field in (2, 3) for n in (1, 2))
        for name in ("ORC", "OBR")
        for segment in message.all(name)
    }


def test_an_order_comes_in_and_its_result_goes_back_under_the_same_numbers(
    tmp_path: Path, receiver: Receiver
) -> None:
    with _laboratory(tmp_path / "home", receiver) as (service, listener):
        assert _acknowledged(listener.exchange(ORDER)) == ("AA", "OML-0001")

        with Person(service, "technician") as technician:
            worklist = technician.get("/")
            assert NUMBER in worklist
            assert "Meyer, Eva" in worklist
            found = re.search(rf'/specimens/(\d+)">{NUMBER}<', worklist)
            assert found is not None
            specimen = int(found[1])
            _bring_in_cells(technician, specimen, listener)
        with Person(service, "pathologist") as pathologist:
            _review_and_sign(pathologist, specimen)
        wait_until(lambda: bool(receiver.messages), 60, "the result arrives")
        delivered = f"specimen_id={specimen} AND state='delivered'"
        wait_until(lambda: _count(listener, "delivery", delivered) == 1, 30, "it is receipted")

        (raw,) = receiver.messages
        result = parse_message(raw)
        assert result.header.message_type == "ORU^R01"
        assert _numbers(result) == _numbers(parse_message(ORDER)) == {
            ("ORD-78", "HIS", NUMBER, "LIS")
        }  # fmt: skip
        obr, pid, spm = (result.first(name) for name in ("OBR", "PID", "SPM"))
        assert obr is not None
        assert pid is not None
        assert spm is not None
        assert (obr.text(25), obr.text(4), obr.text(4, 3)) == ("F", "69738-3", "LN")
        assert (pid.text(3), pid.text(3, 4), pid.text(5)) == ("4711", "GENERAL", "Meyer")
        assert spm.text(2, 2) == NUMBER
        percent = [s.text(5) for s in result.all("OBX") if s.text(6) == "%" and s.text(2) == "NM"]
        assert sum(round(10 * float(text)) for text in percent) == 1000
        independent = parse_independently(raw.decode(), validation_level=VALIDATION_LEVEL.STRICT)
        assert independent.validate()

        again = changed(ORDER, **{"20261123081000": "20261123090000"})
        assert _acknowledged(listener.exchange(again)) == ("AA", "OML-0001")
        assert _count(listener, "order", "placer_number='ORD-78'") == 1
        assert _count(listener, "specimen", f"accession_number='{NUMBER}'") == 1
        assert len(receiver.messages) == 1
