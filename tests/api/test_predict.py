"""The whole way: form, queue, decoder, the shipped model, answer; with a worker in the process."""

import math
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from classifier.classes import CELL_CLASSES
from specimens.models import CellImage, Job, Prediction
from specimens.services.classification import ClassificationWorker
from specimens.services.queue_entry import forget_counts
from tests.api.client import Api, body_of, token_of
from tests.api.pictures import HOSTILE, damaged_png, image
from tests.factories import Cast, picture, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db(transaction=True)]


def test_one_image(api: Api, cast: Cast, worker: ClassificationWorker) -> None:
    response = api.predict(image(format="JPEG"), "smear 7/cell.jpg")
    body = body_of(response)
    assert response.status_code == 200
    assert list(body) == [
        "success", "filename", "results", "message",
        "id", "decision", "reasons", "ood_score", "model_version", "timing",
    ]  # fmt: skip
    assert list(body["results"]) == [
        "predicted_class", "confidence", "all_probabilities", "predicted_class_index",
    ]  # fmt: skip
    assert body["success"] is True
    assert body["filename"] == "cell.jpg"
    stored = CellImage.objects.get()
    assert body["id"] == str(stored.pk)
    assert (stored.site, stored.received_from, stored.source) == (
        cast.site,
        cast.integration,
        CellImage.Source.API,
    )
    assert stored.jobs.get().state == Job.State.DONE


def test_the_numbers_fit_together(api: Api, worker: ClassificationWorker) -> None:
    body = body_of(api.predict(image()))
    results = body["results"]
    by_class = results["all_probabilities"]
    assert set(by_class) == set(CELL_CLASSES)
    assert list(by_class.values()) == sorted(by_class.values(), reverse=True)
    assert math.isclose(sum(by_class.values()), 1, abs_tol=1e-4)
    assert results["predicted_class"] == next(iter(by_class))
    assert results["predicted_class"] == CELL_CLASSES[results["predicted_class_index"]]
    assert math.isclose(results["confidence"], by_class[results["predicted_class"]], abs_tol=1e-5)
    assert (body["decision"] == "Unidentified") == bool(body["reasons"])
    assert body["model_version"] == str(worker.version)
    timing = body["timing"]
    assert set(timing) == {"receive_ms", "wait_ms", "total_ms", "engine_ms"}
    assert timing["total_ms"] >= timing["receive_ms"] >= 0


def test_what_the_answer_says_stands_in_the_database(
    api: Api, worker: ClassificationWorker
) -> None:
    body = body_of(api.predict(image()))
    row = Prediction.objects.get(cell_image_id=body["id"])
    assert row.predicted_class == body["results"]["predicted_class"]
    assert row.model_version == worker.version
    assert row.decision == body["decision"]


@pytest.mark.parametrize("path", ["/api/predict", "/api/predict/"])
def test_with_and_without_a_slash(api: Api, worker: ClassificationWorker, path: str) -> None:
    assert api.post(path, {"file": upload()}).status_code == 200


def test_a_batch_with_bad_images_among_good_ones(api: Api, worker: ClassificationWorker) -> None:
    response = api.predict_batch(picture(1), b"text", damaged_png(), picture(2))
    body = body_of(response)
    assert response.status_code == 200
    assert list(body) == [
        "success", "total_images", "successful_predictions", "success_rate",
        "batch_results", "message",
    ]  # fmt: skip
    assert body["success"] is True
    assert (body["total_images"], body["successful_predictions"]) == (4, 2)
    assert body["success_rate"] == 50.0
    assert body["message"] == "2 of 4 images classified."
    entries = body["batch_results"]
    assert [entry["success"] for entry in entries] == [True, False, False, True]
    assert [entry.get("code") for entry in entries] == [None, "not_an_image", "damaged", None]
    assert [entry["filename"] for entry in entries] == [f"{i}.png" for i in range(4)]
    assert entries[0]["results"]["predicted_class"] in CELL_CLASSES


def test_ten_images_cost_as_many_queries_as_two(
    api: Api, worker: ClassificationWorker, settings: Any
) -> None:
    settings.BATCH_SIZE = 16
    counts = []
    for first, images in ((0, 2), (2, 10)):
        forget_counts()
        with CaptureQueriesContext(connection) as queries:
            answer = api.predict_batch(*(picture(first + n) for n in range(images)))
        assert body_of(answer)["successful_predictions"] == images
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_third_is_rounded(api: Api, worker: ClassificationWorker) -> None:
    body = body_of(api.predict_batch(picture(1), b"", b"x"))
    assert body["success_rate"] == 33.33


def test_damage_that_only_decoding_shows(api: Api, worker: ClassificationWorker) -> None:
    response = api.predict(damaged_png())
    body = body_of(response)
    assert (response.status_code, body["code"]) == (422, "damaged")
    assert body["accepted"]["max_side"] == 4096
    again = api.get(f"/api/predictions/{body['id']}")
    assert (again.status_code, body_of(again)) == (422, body)


def test_a_batch_of_damaged_images_only(api: Api, worker: ClassificationWorker) -> None:
    response = api.predict_batch(damaged_png(), b"text")
    assert response.status_code == 422
    assert body_of(response)["success"] is False


def test_every_hostile_file_and_then_a_good_one(
    api: Api, worker: ClassificationWorker, settings: Any
) -> None:
    settings.PREDICT_BATCH_LIMIT = len(HOSTILE) + 1
    body = body_of(api.predict_batch(*(h.content for h in HOSTILE), picture()))
    assert [entry.get("code") for entry in body["batch_results"]] == [
        *(hostile.code for hostile in HOSTILE),
        None,
    ]


@pytest.mark.usefixtures("unwatched")
class TestNotFinishedInTime:
    """Without a worker: 202, and later the same answer at the status address."""

    def test_one_image(self, api: Api) -> None:
        response = api.predict(picture(), "late.png")
        body = body_of(response)
        number = CellImage.objects.get().pk
        assert response.status_code == 202
        assert body == {
            "success": True,
            "status": "queued",
            "filename": "late.png",
            "message": "The image is stored and queued. Ask for the result at status_url.",
            "id": str(number),
            "status_url": f"http://testserver/api/predictions/{number}",
        }
        assert response["Location"] == body["status_url"]
        assert int(response["Retry-After"]) > 0

    def test_the_status_address_says_queued_then_the_result(
        self, api: Api, settings: Any, request: pytest.FixtureRequest
    ) -> None:
        sent = body_of(api.predict(picture()))
        waiting = api.get(sent["status_url"].removeprefix("http://testserver"))
        assert (waiting.status_code, body_of(waiting)) == (202, sent)
        worker: ClassificationWorker = request.getfixturevalue("worker")
        worker.drain()
        done = api.get(f"/api/predictions/{sent['id']}/")
        assert done.status_code == 200
        assert body_of(done)["id"] == sent["id"]
        assert body_of(done)["results"]["predicted_class"] in CELL_CLASSES

    def test_a_batch(self, api: Api) -> None:
        response = api.predict_batch(picture(1), b"text", picture(2))
        body = body_of(response)
        assert response.status_code == 202
        assert (body["success"], body["successful_predictions"]) == (True, 0)
        assert body["message"] == "0 of 3 images classified, 2 still queued."
        for entry in (body["batch_results"][0], body["batch_results"][2]):
            assert entry["status"] == "queued"
            address = entry["status_url"].removeprefix("http://testserver")
            assert api.get(address).status_code == 202

    def test_a_job_the_platform_gave_up_on(self, api: Api) -> None:
        sent = body_of(api.predict(picture()))
        Job.objects.update(
            state=Job.State.FAILED, error_code="worker_died", error="It stopped 5 times."
        )
        response = api.get(f"/api/predictions/{sent['id']}")
        assert response.status_code == 500
        assert body_of(response) == {
            "success": False,
            "error": "It stopped 5 times.",
            "code": "worker_died",
            "id": sent["id"],
        }

    def test_waiting_ends_when_the_time_is_over(self, cast: Cast, settings: Any) -> None:
        settings.PREDICT_WAIT_SECONDS = 0.05
        assert Api(token_of(cast.technician)).predict(picture()).status_code == 202
