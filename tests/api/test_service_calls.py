"""Health, model_info, and what is said where there is nothing or where something broke."""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from classifier.artifact import ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.models import ModelVersion
from classifier.registry import register_model_version
from specimens.api import predict
from specimens.models import WorkerHeartbeat
from specimens.selectors import health
from specimens.selectors.health import silence_limit
from specimens.services.errors import QueueFull
from tests.api.client import Api, body_of
from tests.factories import picture
from tests.processes import free_port

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _embedded(settings: Any) -> None:
    """As in the embedded mode, whatever servers the test run itself has."""
    settings.REDIS_URL = ""


@pytest.fixture
def well(db: None) -> WorkerHeartbeat:
    """A service where all is well: an active model, and a worker that has it."""
    now = timezone.now()
    ModelVersion.objects.create(
        name="dmfnet", version="1.0.0", digest="d" * 64, metadata={}, is_active=True
    )
    return WorkerHeartbeat.objects.create(
        worker="w", engine="onnxruntime", model_digest="d" * 64, started_at=now, seen_at=now
    )


def _ill_parts(api: Api) -> set[str]:
    response = api.get("/api/health")
    body = body_of(response)
    ill = {name for name, part in body["parts"].items() if part["status"] != "ok"}
    assert response.status_code == (503 if ill else 200)
    assert body["status"] == ("unavailable" if ill else "ok")
    assert response["Cache-Control"] == "no-store"
    assert all(body["parts"][name]["message"] for name in ill)
    return ill


class TestHealth:
    """200 only when a request would succeed; needs no token."""

    def test_all_is_well(self, well: WorkerHeartbeat) -> None:
        assert _ill_parts(Api()) == set()
        parts = body_of(Api().get("/api/health/"))["parts"]
        assert list(parts) == ["database", "storage", "queue", "model", "worker"]
        assert parts["queue"]["depth"] == 0
        assert parts["model"]["version"] == "dmfnet 1.0.0"
        assert parts["worker"]["engines"] == ["onnxruntime"]

    def test_a_fresh_installation(self, db: None) -> None:
        assert _ill_parts(Api()) == {"model", "worker"}

    def test_a_monitor_does_not_fill_the_log(
        self, db: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        Api().get("/api/health")
        assert not caplog.records

    def test_a_worker_that_fell_silent(self, well: WorkerHeartbeat) -> None:
        well.seen_at = timezone.now() - silence_limit() - timedelta(seconds=1)
        well.save()
        assert _ill_parts(Api()) == {"worker"}

    def test_a_worker_with_another_model(self, well: WorkerHeartbeat) -> None:
        well.model_digest = "e" * 64
        well.save()
        assert _ill_parts(Api()) == {"worker"}

    def test_a_full_queue(
        self, well: WorkerHeartbeat, api: Api, settings: Any, unwatched: None
    ) -> None:
        settings.QUEUE_LIMIT = 1
        api.predict_batch(picture(1))
        assert _ill_parts(Api()) == set()
        api.predict(picture(2))
        assert _ill_parts(Api()) == {"queue"}
        part = body_of(Api().get("/api/health"))["parts"]["queue"]
        assert (part["depth"], part["limit"]) == (2, 1)
        assert part["oldest_seconds"] >= 0

    def test_it_says_full_exactly_when_a_predict_call_would(
        self, well: WorkerHeartbeat, api: Api, settings: Any, unwatched: None
    ) -> None:
        settings.QUEUE_LIMIT = 2
        for colour in range(6):
            full = "queue" in _ill_parts(Api())
            assert (api.predict(picture(colour)).status_code == 503) == full

    def test_a_store_that_cannot_be_written(self, well: WorkerHeartbeat, settings: Any) -> None:
        Path(settings.MEDIA_ROOT).write_text("a file where a folder should be")
        assert _ill_parts(Api()) == {"storage"}

    def test_a_store_that_is_full(
        self, well: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "LEAST_FREE_BYTES", 1 << 62)
        assert _ill_parts(Api()) == {"storage"}

    def test_nothing_is_left_in_the_store(self, well: WorkerHeartbeat, settings: Any) -> None:
        Api().get("/api/health")
        assert list(Path(settings.MEDIA_ROOT).iterdir()) == []

    def test_a_database_that_is_away(
        self, well: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cursor() -> None:
            raise OperationalError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(connection, "cursor", cursor)
            assert _ill_parts(Api()) == {"database", "queue", "model", "worker"}

    def test_a_broker_that_is_away(self, well: WorkerHeartbeat, settings: Any) -> None:
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        assert _ill_parts(Api()) == {"broker"}

    @pytest.mark.redis
    def test_a_broker_that_answers(self, well: WorkerHeartbeat, settings: Any) -> None:
        settings.REDIS_URL = os.environ["WBCLAB_REDIS_URL"]
        assert _ill_parts(Api()) == set()
        assert "broker" in body_of(Api().get("/api/health"))["parts"]

    def test_it_asks_the_database_little(
        self, well: WorkerHeartbeat, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(6):
            Api().get("/api/health")

    def test_a_wrong_token_does_not_matter(self, well: WorkerHeartbeat) -> None:
        assert _ill_parts(Api("wrong")) == set()


class TestModelInfo:
    """What the active version's metadata says."""

    def test_the_shipped_model(self, api: Api, settings: Any) -> None:
        artifact = ModelArtifact.load(settings.MODEL_DIR)
        version = register_model_version(artifact)
        body = body_of(api.get("/api/model_info"))
        assert body["digest"] == version.digest
        assert body["classes"] == list(CELL_CLASSES)
        assert body["thresholds"] == {
            "temperature": artifact.temperature,
            "confidence": artifact.confidence_threshold,
            "ood_score": artifact.ood_threshold,
        }
        assert body["parameters"] == artifact.metadata["network"]["parameters"] > 1_000_000
        assert body["input"]["height"] == body["input"]["width"] == 128
        assert body["accepted"]["images_per_call"] == {"predict": 1, "predict_batch": 10}
        assert body["intended_use"]
        assert body["limitations"]

    def test_metadata_that_says_little(self, api: Api, well: WorkerHeartbeat) -> None:
        body = body_of(api.get("/api/model_info/"))
        assert (body["name"], body["version"], body["parameters"]) == ("dmfnet", "1.0.0", None)


class TestNothingHere:
    """Below /api/ also what does not exist is answered in JSON."""

    @pytest.mark.parametrize("path", ["/api/", "/api/predicted", "/api/v1/cell", "/api/a/b/c//"])
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
    def test_unknown_addresses(self, db: None, method: str, path: str) -> None:
        response = Api().request(method, path)
        assert (response.status_code, body_of(response)["code"]) == (404, "not_found")

    @pytest.mark.parametrize("path", ["/api/health", "/api/model_info", "/api/predictions/1"])
    def test_other_methods(self, api: Api, path: str) -> None:
        response = api.post(path)
        assert (response.status_code, body_of(response)["code"]) == (405, "method_not_allowed")


class TestBrokenInside:
    """What nobody expected: a bare 500 in JSON, the traceback in the log only."""

    def test_an_unhandled_error(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self._fail_with(monkeypatch, ZeroDivisionError("secret detail"))
        with caplog.at_level(logging.ERROR):
            response = api.predict(picture())
        assert (response.status_code, body_of(response)["code"]) == (500, "internal_error")
        assert b"secret detail" not in response.content
        assert "ZeroDivisionError: secret detail" in caplog.text

    def test_the_database_goes_away(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fail_with(monkeypatch, OperationalError("server closed the connection"))
        response = api.predict(picture())
        assert (response.status_code, body_of(response)["code"]) == (503, "database_unavailable")
        assert int(response["Retry-After"]) > 0

    def test_the_disk_of_the_database_is_full(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._fail_with(monkeypatch, OperationalError("database or disk is full"))
        response = api.predict(picture())
        assert (response.status_code, body_of(response)["code"]) == (507, "storage_unavailable")

    def test_a_full_queue_says_when_to_come_back(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._fail_with(monkeypatch, QueueFull(retry_after_seconds=17))
        assert api.predict(picture())["Retry-After"] == "17"

    def _fail_with(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def fail(**_: Any) -> None:
            raise error

        monkeypatch.setattr(predict, "add_cell_images", fail)


class TestOutsideOfAView:
    """The root handlers: JSON below /api/, Django's own pages elsewhere."""

    def test_a_wrong_host(self, db: None) -> None:
        for path, kind in (("/api/health", "application/json"), ("/login", "text/html")):
            response = Client(raise_request_exception=False).get(path, headers={"host": "evil"})
            assert response.status_code == 400
            assert response["Content-Type"].startswith(kind)

    def test_a_middleware_without_its_database(
        self, cast: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client(raise_request_exception=False)
        client.force_login(cast.technician)

        def cursor(*_: Any) -> None:
            raise OperationalError("away")

        with monkeypatch.context() as patch:
            patch.setattr(connection, "cursor", cursor)
            response = client.get("/api/health")
            page = client.get("/")
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
        assert response["Retry-After"]
        assert (page.status_code, page["Retry-After"]) == (503, response["Retry-After"])
        assert "The database cannot be reached" in page.content.decode()
