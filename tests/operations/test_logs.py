"""What is in the logs, and that nothing of a patient is: planted words, sent in by every road."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from pydicom import dcmread
from pynetdicom import AE

from specimens.management.commands.hl7_listener import Intake
from specimens.models import CellImage, Delivery, Specimen
from specimens.services.classification import ClassificationWorker
from specimens.services.deliveries_queue import claim_delivery
from specimens.services.deliveries_sending import attempt_delivery
from tests.dicom.files import VL_PHOTOGRAPHIC, instance, plain_cell, saved
from tests.dicom.pacs import SCANNER, listening
from tests.factories import make_cast, picture
from tests.interop.hl7_golden import changed, golden
from tests.interop.outbox import webhook
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.interop.webhook_receiver import ReceiverThread
from wbclab import logs

PLANTED: Final = "Zqpatient"  # the beginning of everything that is planted
ACCESSION, NUMBER, NAME = f"{PLANTED}-A1", f"{PLANTED}-4711", f"{PLANTED}frau"


@contextmanager
def a_database_that_repeats_rows() -> Iterator[None]:
    """PostgreSQL tells the whole row that breaks a constraint; here every saved view does."""
    table = "ALTER TABLE specimens_savedview"
    with connection.cursor() as cursor:
        cursor.execute(f"{table} ADD CONSTRAINT planted CHECK (name = '')")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"{table} DROP CONSTRAINT planted")


def by_pages(client: Client, site: int) -> str:
    """Accession, upload, search; then a page that fails: the request id of its answer."""
    client.post("/login", {"username": NAME, "password": NAME})
    assert (
        client.post("/login", {"username": "technician", "password": "correct horse"})["Location"]
        == "/"
    )
    typed = {
        "site": site, "identifier": NUMBER, "family_name": NAME, "given_name": NAME,
        "sex": "F", "accession_number": ACCESSION, "priority": "stat",
    }  # fmt: skip
    page = client.post("/specimens/new", typed)["Location"]
    file = io.BytesIO(picture(77))
    file.name = f"{NAME}.png"
    assert client.post(f"{page}/images", {"images": file}).status_code < 400
    assert client.post("/specimens/new", typed).status_code == 422
    assert client.get("/search", {"q": ACCESSION})["Location"] == page
    assert client.get(f"/specimens/{ACCESSION}").status_code == 404
    with a_database_that_repeats_rows():
        failed = client.post("/views", {"name": NAME, "query": f"q={ACCESSION}"})
    assert failed.status_code == 500
    return failed["X-Request-ID"]


def by_api(client: Client) -> None:
    assert client.get("/api/v1/specimens", {"accession_number": ACCESSION}).status_code == 200
    client.get("/api/v1/specimens", {PLANTED: NAME})
    wrong = {"patient": {"identifier": NUMBER, "sex": NAME}}
    client.post("/api/v1/orders", wrong, content_type="application/json")
    client.post("/api/v1/orders", NAME, content_type="application/json")
    client.get("/fhir/Patient", {"family": NAME, "identifier": NUMBER})
    client.get(f"/fhir/Patient/{NUMBER}")
    file = io.BytesIO(NAME.encode())
    file.name = f"{NAME}.jpg"
    client.post("/api/predict", {"file": file})


def by_hl7() -> None:
    message = changed(golden("orm_o01"), **{"4711": NUMBER, "Zo\u00eb": NAME, "ORD-77": ACCESSION})
    for one in (message, message.replace(b"|P|2.5.1", b"|P|9.9"), NAME.encode()):
        assert Intake("main", "integration").answer(one, "127.0.0.1")


def by_dicom(folder: Path) -> None:
    ae = AE(ae_title=SCANNER)
    ae.add_requested_context(VL_PHOTOGRAPHIC)
    wrong: tuple[dict[str, Any], ...] = ({}, {"Rows": 9000}, {"PatientID": f"{NUMBER}-2"})
    with listening(folder) as listener:
        association = ae.associate("127.0.0.1", listener.port, ae_title="WBCLAB")
        for number, more in enumerate(wrong):
            identifiers = {"AccessionNumber": ACCESSION, "PatientID": NUMBER, "PatientName": NAME}
            dataset = instance(plain_cell(number + 5, 40), **(identifiers | more))
            association.send_c_store(dcmread(saved(dataset, folder / f"{number}.dcm")))
        association.release()


def by_delivery(site: Any) -> None:
    """The receiver refuses what the machine proposes, and repeats it in its answer."""
    with ReceiverThread() as receiver:
        receiver.statuses, receiver.repeats = [422], True
        webhook(site, receiver.url, events=["preliminary"])
        with ClassificationWorker() as worker:
            assert worker.drain()
        delivery = Delivery.objects.get()
        claimed = claim_delivery(destination_id=delivery.destination_id, worker="w")
        assert claimed and not attempt_delivery(delivery=claimed)
        assert ACCESSION in str(receiver.requests)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_no_log_holds_what_was_sent_in_and_each_line_says_what_happened(
    out: io.StringIO, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = make_cast()
    monkeypatch.setenv(SECRET_ENV, SECRET)
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.DICOM_PEERS = [f"{SCANNER}=main"]
    client = Client(raise_request_exception=False)
    failed = by_pages(client, cast.site.pk)
    by_api(client)
    by_hl7()
    by_dicom(tmp_path)
    by_delivery(cast.site)
    assert PLANTED.lower() not in out.getvalue().lower()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    said = {line["event"]: line for line in lines}
    (error,) = (line for line in lines if line.get("exception") and line["request_id"] == failed)
    assert error["exception"][0]["type"] == "IntegrityError 23514"
    assert any("saved_views.py" in frame for frame in error["exception"][0]["frames"])
    specimen = Specimen.objects.get(accession_number=ACCESSION)
    added = [line for line in lines if line.get("route") == "specimens/<int:pk>/images"]
    assert [(one["user"], one["specimen"], one["site"]) for one in added] == [
        (cast.technician.pk, specimen.pk, cast.site.pk)
    ]
    jobs = set(CellImage.objects.filter(specimen=specimen).values_list("jobs", flat=True))
    assert jobs <= {job for line in lines for job in line.get("jobs", [])}
    assert said["not delivered"]["delivery"] == Delivery.objects.get().pk
    assert said["message.received"]["message"]
    assert said["a DICOM object came in"]["association"]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where a handler with our formatter writes, at the root of all loggers."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(as_json=True))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("name", ["specimens.x", "some.library", "django.request"])
def test_values_of_errors_and_of_libraries_are_left_out(out: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)
    try:
        try:
            raise ValueError(NAME)
        except ValueError as cause:
            raise IntegrityError(NAME) from cause
    except IntegrityError as error:
        logger.exception("it went wrong: %s", error)
    line = json.loads(out.getvalue())
    assert PLANTED not in out.getvalue()
    assert [link["type"] for link in line["exception"]] == ["IntegrityError", "ValueError"]
    assert line["event"].startswith("it went wrong: ")


def test_a_text_that_a_library_put_together_is_left_out(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning(f"the name {NAME} is long")  # noqa: G004, RUF100
    assert PLANTED not in out.getvalue()
    assert json.loads(out.getvalue())["event"].startswith("text left out: test_logs:")


def test_a_request_id_is_taken_from_a_proxy_only_and_in_a_safe_form(
    client: Any, settings: Any
) -> None:
    drawn = "0f8fad5b-d9cb-469f-a165-70867728950e"
    asked = "/login"
    assert client.get(asked, headers={"X-Request-ID": drawn})["X-Request-ID"] != drawn
    settings.BEHIND_PROXY = True
    assert client.get(asked, headers={"X-Request-ID": drawn})["X-Request-ID"] == drawn
    for other in (NUMBER, "4711", f"{drawn} {drawn}", drawn + "\n", "a" * 80):
        assert client.get(asked, headers={"X-Request-ID": other})["X-Request-ID"] != other
