"""The resources of REST v1: what is created can be read, listed, corrected, and is recorded."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse

from classifier.models import ModelVersion
from specimens.models import AuditEvent, CellImage, Delivery, Destination, Job, Order, Specimen
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from specimens.services.second_read import start_second_read
from specimens.services.signing import sign_out_report
from tests.api.client import Api, body_of, token_of
from tests.factories import Cast, picture
from tests.portal.conftest import METADATA, Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

PATIENT = {"identifier": "P-1", "family_name": "Muster", "birth_date": "1964-08-12", "sex": "F"}
JSON = {"content_type": "application/json"}


@pytest.fixture
def cells(db: None) -> Cells:
    version = ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, metadata=METADATA, is_active=True
    )
    return Cells(version)


@pytest.fixture
def technician(cast: Cast) -> Api:
    return Api(token_of(cast.technician))


@pytest.fixture
def pathologist(cast: Cast) -> Api:
    return Api(token_of(cast.pathologist))


@pytest.fixture
def outsider(cast: Cast) -> Api:
    return Api(token_of(cast.outsider))


@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    """Two cells, both reviewed; ready to be signed."""
    cast.site.target_cells = 2
    cast.site.save()
    found = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    made = [cells.classified(found), cells.classified(found, "Monocyte")]
    decisions = [Decision(cell.pk, "neutrophil", 0) for cell in made]
    review_cells(actor=cast.technician, specimen=found, decisions=decisions)
    found.refresh_from_db()
    return found


def _sign(cast: Cast, case: Specimen) -> Any:
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    return sign_out_report(
        actor=cast.pathologist, specimen=case, password="correct horse", seen_revision=seen
    )


def _images(*colours: int) -> dict[str, Any]:
    return {"images": [SimpleUploadedFile(f"{c}.png", picture(c)) for c in colours]}


def _change(api: Api, path: str, changes: Any, etag: str | None = None) -> HttpResponse:
    headers = {"If-Match": etag} if etag else {}
    return api.request("PATCH", path, data=changes, headers=headers, **JSON)


class TestOrders:
    def test_placed_read_listed_and_accessioned(self, api: Api, cast: Cast) -> None:
        sent = {"patient": PATIENT, "placer_number": "PL-1", "priority": "stat"}
        answer = api.post("/api/v1/orders", sent, **JSON)
        order = body_of(answer)
        assert answer.status_code == 201
        assert order["patient"]["family_name"] == "Muster"
        assert order["expected_since"]
        assert body_of(api.get(answer["Location"])) == order
        assert api.get(answer["Location"])["ETag"] == answer["ETag"]
        for query in ("patient=P-1", "placer_number=PL-1", "expected=true", "site=main"):
            listed = body_of(api.get(f"/api/v1/orders?{query}"))["results"]
            assert [one["id"] for one in listed] == [order["id"]], query
        assert body_of(api.get("/api/v1/orders?expected=false"))["results"] == []
        tube = {"accession_number": "A-1", "order": order["id"]}
        specimen = body_of(api.post("/api/v1/specimens", tube, **JSON))
        assert (specimen["order"], specimen["priority"]) == (order["id"], "stat")
        now = body_of(api.get(f"/api/v1/orders/{order['id']}"))
        assert (now["expected_since"], now["specimens"]) == (None, [specimen["id"]])

    def test_a_patient_number_of_somebody_else(self, api: Api) -> None:
        assert api.post("/api/v1/orders", {"patient": PATIENT}, **JSON).status_code == 201
        other = {"patient": PATIENT | {"family_name": "Other"}}
        answer = api.post("/api/v1/orders", other, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (409, "conflict")
        assert Order.objects.count() == 1

    def test_faults_are_named_by_their_fields(self, api: Api) -> None:
        sent = {"patient": {"sex": "?"}, "priority": "now", "urgent": True}
        answer = api.post("/api/v1/orders", sent, **JSON)
        assert (answer.status_code, list(body_of(answer)["fields"])) == (400, ["urgent"])
        del sent["urgent"]
        fields = body_of(api.post("/api/v1/orders", sent, **JSON))["fields"]
        assert set(fields) == {
            "patient.identifier", "patient.family_name", "patient.sex", "priority",
        }  # fmt: skip

    def test_corrected_until_it_is_signed(self, api: Api, cast: Cast, case: Specimen) -> None:
        path = f"/api/v1/orders/{case.order_id}"
        Job.objects.filter(cell_image__specimen=case).update(state=Job.State.QUEUED)
        answer = _change(api, path, {"priority": "stat"}, api.get(path)["ETag"])
        assert (answer.status_code, body_of(answer)["priority"]) == (200, "stat")
        assert answer["ETag"] == api.get(path)["ETag"]
        assert set(Job.objects.values_list("priority", flat=True)) == {Job.Urgency.STAT}
        event = AuditEvent.objects.get(action="order.changed")
        assert event.details == {"priority": ["routine", "stat"]}
        Specimen.objects.filter(pk=case.pk).update(state=Specimen.State.SIGNED_OUT)
        answer = _change(api, path, {"requester": "x"}, "*")
        assert (answer.status_code, body_of(answer)["code"]) == (409, "not_in_this_state")

    def test_looking_is_recorded_with_the_site(self, api: Api, cast: Cast) -> None:
        order = cast.specimen().order
        api.get(f"/api/v1/orders/{order.pk}")
        api.get("/api/v1/orders")
        viewed, listed = AuditEvent.objects.filter(action__startswith="order.").order_by("pk")
        assert (viewed.action, viewed.object_id) == ("order.viewed", str(order.pk))
        assert (listed.action, listed.site, listed.details) == (
            "order.listed", cast.site, {"orders": [order.pk]},
        )  # fmt: skip


class TestSpecimens:
    def test_accessioned_with_its_patient_in_one_call(self, api: Api) -> None:
        sent = {
            "accession_number": "A-1", "patient": PATIENT, "wbc_count": "14.2",
            "order_details": {"priority": "stat", "requester": "Ward 3"},
        }  # fmt: skip
        answer = api.post("/api/v1/specimens", sent, **JSON)
        body = body_of(answer)
        assert (body["state"], body["wbc_count"]) == ("accessioned", "14.20")
        assert body_of(api.get(answer["Location"])) == body
        taken = api.post("/api/v1/specimens", sent, **JSON)
        assert (taken.status_code, list(body_of(taken)["fields"])) == (400, ["accession_number"])
        assert Order.objects.count() == 1

    @pytest.mark.parametrize("extra", [{}, {"order": 1, "patient": PATIENT}])
    def test_either_an_order_or_a_patient(self, api: Api, extra: dict[str, Any]) -> None:
        answer = api.post("/api/v1/specimens", {"accession_number": "A-1"} | extra, **JSON)
        assert (answer.status_code, list(body_of(answer)["fields"])) == (400, ["order"])

    def test_an_order_of_another_site_does_not_exist(self, outsider: Api, case: Specimen) -> None:
        sent = {"accession_number": "A-1", "order": case.order_id}
        answer = outsider.post("/api/v1/specimens", sent, **JSON)
        assert body_of(answer)["fields"] == {"order": "There is no such order at your sites."}

    def test_the_site_must_be_named_where_there_are_two(self, api: Api, cast: Cast) -> None:
        cast.technician.sites.add(cast.other_site)
        two = Api(token_of(cast.technician))
        sent = {"accession_number": "A-1", "patient": PATIENT}
        assert "main, other" in body_of(two.post("/api/v1/specimens", sent, **JSON))["detail"]
        answer = two.post("/api/v1/specimens", sent | {"site": "other"}, **JSON)
        assert body_of(answer)["site"] == "other"
        answer = api.post("/api/v1/specimens", sent | {"site": "other"}, **JSON)
        assert list(body_of(answer)["fields"]) == ["site"]

    def test_filters(self, api: Api, cast: Cast, case: Specimen) -> None:
        cast.specimen(accession_number="B-1")
        for query, numbers in {
            "state=in_review": [case.accession_number],
            "accession_number=B-1": ["B-1"],
            f"order={case.order_id}": [case.accession_number],
            f"patient={case.order.patient.identifier}": [case.accession_number],
            "received_before=2020-01-01T00:00:00Z": [],
            "priority=stat": [],
        }.items():
            listed = body_of(api.get(f"/api/v1/specimens?{query}"))["results"]
            assert [one["accession_number"] for one in listed] == numbers, query

    def test_an_unknown_filter_is_refused(self, api: Api) -> None:
        answer = api.get("/api/v1/specimens?status=in_review")
        assert (answer.status_code, list(body_of(answer)["fields"])) == (400, ["status"])

    def test_corrected(self, technician: Api, case: Specimen) -> None:
        path = f"/api/v1/specimens/{case.pk}"
        answer = _change(technician, path, {"wbc_count": "3.10"}, technician.get(path)["ETag"])
        assert (answer.status_code, body_of(answer)["wbc_count"]) == (200, "3.10")
        assert _change(technician, path, {"state": "signed_out"}, "*").status_code == 400
        assert _change(technician, path, {"wbc_count": "-1"}, "*").status_code == 400

    def test_rejected(self, technician: Api, cast: Cast, case: Specimen) -> None:
        fresh = cast.specimen()
        path, headers = f"/api/v1/specimens/{fresh.pk}/rejection", {"If-Match": "*"}
        answer = technician.post(path, {"reason": "Clotted"}, headers=headers, **JSON)
        assert (answer.status_code, body_of(answer)["state"]) == (200, "rejected")
        path = f"/api/v1/specimens/{case.pk}/rejection"
        answer = technician.post(path, {"reason": "Clotted"}, headers=headers, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (409, "not_in_this_state")

    def test_pages_need_few_queries(
        self, technician: Api, cast: Cast, cells: Cells, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(20):
            cells.classified(cast.specimen(state=Specimen.State.PRECLASSIFIED))
        for noun, most in {"specimens": 25, "cells": 16, "orders": 24, "predictions": 12}.items():
            with django_assert_max_num_queries(most):
                listed = body_of(technician.get(f"/api/v1/{noun}?limit=20"))["results"]
            assert len(listed) == 20


class TestCells:
    def test_sent_listed_and_fetched(self, api: Api, cast: Cast) -> None:
        specimen = cast.specimen()
        path = f"/api/v1/specimens/{specimen.pk}/cells"
        answer = api.post(path, _images(1, 2, 2))
        lines = body_of(answer)["received"]
        assert answer.status_code == 201
        assert [line["status"] for line in lines] == ["accepted", "accepted", "duplicate"]
        assert lines[1]["cell"] == lines[2]["cell"]
        assert api.post(path, _images(1)).status_code == 200
        listed = body_of(api.get(path))["results"]
        assert [one["id"] for one in listed] == [lines[1]["cell"], lines[0]["cell"]]
        assert {one["state"] for one in listed} == {"waiting"}
        fetched = api.get(listed[1]["image_url"])
        assert (fetched["Content-Type"], fetched.content) == ("image/png", picture(1))
        again = api.get(listed[1]["image_url"], headers={"If-None-Match": fetched["ETag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_a_bad_file_is_a_line_of_its_own(self, api: Api, cast: Cast) -> None:
        path = f"/api/v1/specimens/{cast.specimen().pk}/cells"
        form = {"images": [SimpleUploadedFile("a.png", b"text"), *_images(1)["images"]]}
        lines = body_of(api.post(path, form))["received"]
        assert [(line["status"], line["code"]) for line in lines] == [
            ("refused", "not_an_image"), ("accepted", ""),
        ]  # fmt: skip
        assert body_of(api.post(path, {}))["code"] == "no_file"
        assert body_of(api.post(path, _images(*range(11))))["code"] == "too_many_images"

    def test_a_signed_case_takes_none(self, api: Api, cast: Cast, case: Specimen) -> None:
        _sign(cast, case)
        answer = api.post(f"/api/v1/specimens/{case.pk}/cells", _images(1))
        assert (answer.status_code, body_of(answer)["code"]) == (409, "not_in_this_state")

    def test_what_machine_and_people_say(self, api: Api, cast: Cast, case: Specimen) -> None:
        first, second = case.cell_images.order_by("pk")
        body = body_of(api.get(f"/api/v1/cells/{second.pk}"))
        assert (body["state"], body["label"], body["labelled_by"], body["revision"]) == (
            "classified", "neutrophil", "technician", 1,
        )  # fmt: skip
        assert body["prediction"]["decision"] == "Monocyte"
        number = body["prediction"]["id"]
        assert body_of(api.get(f"/api/v1/predictions/{number}")) == body["prediction"]
        assert body_of(api.get("/api/v1/cells?label=blast"))["results"] == []
        found = body_of(api.get(f"/api/v1/predictions?cell={first.pk}"))["results"]
        assert [one["cell"] for one in found] == [first.pk]

    def test_a_failed_one_says_why(self, api: Api, cast: Cast, cells: Cells) -> None:
        cell = cells.failed(cast.specimen(), error="It is damaged.")
        body = body_of(api.get(f"/api/v1/cells/{cell.pk}"))
        assert (body["state"], body["error"]) == (
            "failed", {"code": "damaged", "text": "It is damaged."},
        )  # fmt: skip

    def test_an_image_of_the_predict_calls_is_none_of_these(
        self, api: Api, unwatched: None
    ) -> None:
        api.predict(picture())
        number = CellImage.objects.get().pk
        assert api.get(f"/api/v1/cells/{number}").status_code == 404
        assert body_of(api.get("/api/v1/cells"))["results"] == []


class TestReviews:
    def test_recorded_and_listed(self, technician: Api, case: Specimen) -> None:
        cell = case.cell_images.first()
        assert cell is not None
        path = f"/api/v1/specimens/{case.pk}/reviews"
        sent = {"decisions": [{"cell": cell.pk, "label": "blast", "revision": 1}]}
        answer = technician.post(path, sent, **JSON)
        assert body_of(answer)["cells"][0]["revision"] == 2
        stale = technician.post(path, sent, **JSON)
        assert (stale.status_code, body_of(stale)["code"]) == (409, "stale")
        assert body_of(stale)["cells"][0]["label"] == "blast"
        newest = body_of(technician.get(path))["results"][0]
        assert (newest["label"], newest["reviewer"]) == ("blast", "technician")
        assert body_of(technician.get(f"/api/v1/reviews/{newest['id']}")) == newest
        listed = body_of(technician.get("/api/v1/reviews?label=blast"))["results"]
        assert listed == [newest]

    @pytest.mark.parametrize(
        "decisions",
        [
            None, [], [{}], [{"cell": "1", "label": "blast", "revision": 0}],
            [{"cell": 1, "label": "blast", "revision": 0}] * 2,
            [{"cell": 2**70, "label": "blast", "revision": 0}],
            [{"cell": 1, "label": "\ud800", "revision": 0}],
        ],
    )  # fmt: skip
    def test_what_cannot_be_decided(self, technician: Api, case: Specimen, decisions: Any) -> None:
        path = f"/api/v1/specimens/{case.pk}/reviews"
        answer = technician.post(path, {"decisions": decisions}, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid")

    def test_a_blinded_reader_sees_no_first_read(
        self, api: Api, pathologist: Api, cast: Cast, case: Specimen
    ) -> None:
        _sign(cast, case)
        start_second_read(actor=cast.pathologist, specimen=case)
        cell = case.cell_images.first()
        assert cell is not None
        body = body_of(pathologist.get(f"/api/v1/cells/{cell.pk}"))
        assert (body["label"], body["labelled_by"]) == ("", None)
        assert body_of(pathologist.get("/api/v1/reviews"))["results"] == []
        assert body_of(api.get("/api/v1/reviews"))["results"]


class TestReports:
    def test_signed_read_and_amended(
        self, api: Api, pathologist: Api, cast: Cast, case: Specimen
    ) -> None:
        gate = body_of(pathologist.get(f"/api/v1/specimens/{case.pk}/sign-out"))
        sent = {"password": "correct horse", "seen_revision": gate["revision"]}
        signed = pathologist.post(f"/api/v1/specimens/{case.pk}/sign-out", sent, **JSON)
        path = signed["Location"]
        report = body_of(api.get(path))
        assert report["content"]["specimen"]["accession_number"] == case.accession_number
        assert (report["version"], report["is_newest"]) == (1, True)
        pdf = api.get(f"{path}/pdf")
        assert (pdf["Content-Type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
        assert AuditEvent.objects.filter(action="report.viewed").count() == 2
        amended = {"reason": "second look", "password": "correct horse"}
        pathologist.post(f"/api/v1/specimens/{case.pk}/amendments", amended, **JSON)
        _sign(cast, case)
        assert body_of(api.get(path))["is_newest"] is False
        listed = body_of(api.get(f"/api/v1/reports?specimen={case.pk}"))["results"]
        assert [(one["version"], one["is_newest"]) for one in listed] == [(2, True), (1, False)]
        assert "content" not in listed[0]

    def test_a_patient_reads_like_a_patient_of_another_site(
        self, outsider: Api, cast: Cast, case: Specimen
    ) -> None:
        report = _sign(cast, case)
        cell = case.cell_images.first()
        assert cell is not None
        for path in (
            f"orders/{case.order_id}", f"specimens/{case.pk}", f"specimens/{case.pk}/cells",
            f"specimens/{case.pk}/reviews", f"cells/{cell.pk}", f"cells/{cell.pk}/image",
            f"reports/{report.pk}", f"reports/{report.pk}/pdf",
        ):  # fmt: skip
            answer = outsider.get(f"/api/v1/{path}")
            assert (answer.status_code, body_of(answer)["code"]) == (404, "not_found")
        for noun in ("orders", "specimens", "cells", "predictions", "reviews", "reports"):
            assert body_of(outsider.get(f"/api/v1/{noun}"))["results"] == []


class TestDeliveries:
    @pytest.fixture
    def delivery(self, cast: Cast, case: Specimen) -> Delivery:
        Destination.objects.create(
            site=cast.site, name="LIS", kind="webhook", address="https://lis.invalid/"
        )
        _sign(cast, case)
        return Delivery.objects.get()

    def test_held_retried_and_cancelled(
        self, api: Api, pathologist: Api, delivery: Delivery
    ) -> None:
        Delivery.objects.update(state=Delivery.State.HELD, last_error="It said no.")
        path = f"/api/v1/deliveries/{delivery.pk}"
        listed = body_of(api.get("/api/v1/deliveries?state=held"))["results"]
        assert [(one["id"], one["last_error"]) for one in listed] == [(delivery.pk, "It said no.")]
        headers = {"If-Match": pathologist.get(path)["ETag"]}
        answer = pathologist.post(f"{path}/retry", {}, headers=headers, **JSON)
        assert (answer.status_code, body_of(answer)["state"]) == (200, "due")
        answer = pathologist.post(f"{path}/cancel", {"reason": "x"}, headers=headers, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (412, "stale")
        headers = {"If-Match": pathologist.get(path)["ETag"]}
        answer = pathologist.post(f"{path}/cancel", {"reason": "x"}, headers=headers, **JSON)
        assert (answer.status_code, body_of(answer)["cancel_reason"]) == (200, "x")
        answer = pathologist.post(f"{path}/retry", {}, headers={"If-Match": "*"}, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (409, "conflict")
