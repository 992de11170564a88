"""The Open Inference Protocol over the queue: metadata, readiness, inference, its errors."""

import base64
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from classifier.classes import CELL_CLASSES
from classifier.models import ModelVersion
from specimens.models import CellImage, Prediction, WorkerHeartbeat
from tests.api.client import Api, body_of, token_of
from tests.api.pictures import damaged_png
from tests.factories import Cast, make_cast, picture

pytestmark = pytest.mark.core

OLD = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def served(worker: Any) -> ModelVersion:
    """The shipped model, with a worker in this process."""
    version: ModelVersion = ModelVersion.objects.get(is_active=True)
    return version


@pytest.fixture
def registered(db: None) -> ModelVersion:
    """A model that is active; nobody works with it."""
    return ModelVersion.objects.create(
        name="dmfnet", version="1.0", digest="d" * 64, metadata={}, is_active=True
    )


@pytest.fixture
def client(transactional_db: None) -> Api:
    return Api(token_of(make_cast().integration))


def _infer(api: Api, tensor: dict[str, Any], path: str = "", **more: Any) -> Any:
    body = {"inputs": [{"name": "image"} | tensor]} | more
    address = f"/v2/models/dmfnet{path}/infer"
    return api.post(address, body, content_type="application/json")


def _encoded(*contents: bytes) -> dict[str, Any]:
    data = [base64.b64encode(content).decode() for content in contents]
    return {"datatype": "BYTES", "shape": [len(data)], "data": data}


class TestInfer:
    def test_encoded_images(self, client: Api, served: ModelVersion) -> None:
        path = f"/versions/{served.version}"
        answer = _infer(client, _encoded(picture(1), picture(2)), path, id="a-1")
        body = body_of(answer)
        assert answer.status_code == 200
        assert (body["model_name"], body["model_version"], body["id"]) == (
            served.name, served.version, "a-1",
        )  # fmt: skip
        tensors = {tensor["name"]: tensor for tensor in body["outputs"]}
        assert tensors["probabilities"]["shape"] == [2, len(CELL_CLASSES)]
        rows = Prediction.objects.order_by("cell_image")
        assert [p for row in rows for p in row.probabilities] == tensors["probabilities"]["data"]
        assert tensors["class"]["data"] == [row.predicted_class for row in rows]
        assert tensors["decision"]["data"] == [row.decision for row in rows]
        assert tensors["ood_score"]["data"] == [row.ood_score for row in rows]
        for number in tensors["id"]["data"]:
            assert client.get(f"/api/predictions/{number}").status_code == 200

    def test_pixels_give_what_the_file_gives(self, client: Api, served: ModelVersion) -> None:
        pixels = np.random.default_rng(1).integers(0, 256, (1, 40, 48, 3), dtype=np.uint8)
        shape = {"datatype": "UINT8", "shape": [1, 40, 48, 3]}
        flat = body_of(_infer(client, shape | {"data": pixels.ravel().tolist()}))
        nested = body_of(_infer(client, shape | {"data": pixels.tolist()}))
        with CellImage.objects.latest("pk").file.open() as file:
            stored = file.read()
        as_file = body_of(_infer(client, _encoded(stored)))
        data = [one["outputs"][0]["data"] for one in (flat, nested, as_file)]
        assert data[0] == data[1] == data[2]

    def test_only_the_outputs_that_are_asked_for(self, client: Api, served: ModelVersion) -> None:
        answer = _infer(client, _encoded(picture()), outputs=[{"name": "class"}])
        assert [tensor["name"] for tensor in body_of(answer)["outputs"]] == ["class"]

    def test_one_bad_image_refuses_all_before_anything_is_stored(
        self, client: Api, served: ModelVersion
    ) -> None:
        answer = _infer(client, _encoded(picture(), b"no image"))
        assert answer.status_code == 415
        assert "image-1" in body_of(answer)["error"]
        assert not CellImage.objects.exists()

    def test_an_image_that_proves_damaged_is_named(self, client: Api, served: ModelVersion) -> None:
        answer = _infer(client, _encoded(picture(), damaged_png()))
        assert answer.status_code == 422
        assert body_of(answer)["error"].startswith("image-1:")


@pytest.mark.django_db
@pytest.mark.usefixtures("registered")
class TestRefusals:
    @pytest.mark.parametrize(
        ("tensor", "text"),
        [
            ({"datatype": "FP32", "shape": [1], "data": [0]}, "datatype"),
            ({"datatype": "BYTES", "shape": [2], "data": ["AAAA"]}, "names 2 images"),
            ({"datatype": "BYTES", "shape": [0], "data": []}, "1 to 10"),
            ({"datatype": "BYTES", "shape": [11], "data": ["AAAA"] * 11}, "1 to 10"),
            ({"datatype": "BYTES", "shape": [1], "data": ["*"]}, "base64"),
            ({"datatype": "BYTES", "shape": [1], "data": [7]}, "base64"),
            ({"datatype": "BYTES", "shape": [1]}, "JSON array"),
            ({"datatype": "BYTES", "shape": [True], "data": ["AAAA"]}, "whole numbers"),
            ({"datatype": "UINT8", "shape": [1, 32, 32], "data": [0]}, "height, width, 3"),
            ({"datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192}, "32 to 4096"),
            ({"datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0]}, "3072 whole numbers"),
            ({"datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [256] * 3072}, "0 to 255"),
            ({"datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0.5] * 3072}, "whole"),
            ({"datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [[1], [1, 2]]}, "even"),
            ({"name": "pixels", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}, '"image"'),
        ],
    )
    def test_what_is_no_tensor_of_images(self, api: Api, tensor: dict[str, Any], text: str) -> None:
        answer = _infer(api, tensor)
        assert answer.status_code == 400
        assert text in body_of(answer)["error"]
        assert not CellImage.objects.exists()

    @pytest.mark.parametrize("body", [b"[]", b"{", b'{"inputs": {}}', b"[" * 100_000])
    def test_what_is_no_request(self, api: Api, body: bytes) -> None:
        answer = api.post("/v2/models/dmfnet/infer", body, content_type="application/json")
        assert answer.status_code == 400
        assert set(body_of(answer)) == {"error"}

    def test_another_model_or_version(self, api: Api) -> None:
        for address in ("/v2/models/other", "/v2/models/dmfnet/versions/0.0"):
            for call in ("", "/ready"):
                answer = api.get(address + call)
                assert answer.status_code == 404
                assert "1.0" in body_of(answer)["error"]


@pytest.mark.django_db
class TestAround:
    def test_metadata_names_what_infer_gives(self, api: Api, registered: ModelVersion) -> None:
        body = body_of(api.get("/v2/models/dmfnet/versions/1.0"))
        assert body["versions"] == ["1.0"]
        assert [one["name"] for one in body["inputs"]] == ["image"]
        names = [one["name"] for one in body["outputs"]]
        assert names == ["probabilities", "class", "decision", "ood_score", "id"]
        assert body_of(api.get("/v2/"))["name"] == "wbclab"

    def test_health_needs_no_token(self, db: None) -> None:
        assert body_of(Api().get("/v2/health/live")) == {"live": True}
        answer = Api().get("/v2/health/ready")
        assert (answer.status_code, body_of(answer)) == (503, {"ready": False})

    def test_ready_while_a_worker_has_the_model(self, api: Api, registered: ModelVersion) -> None:
        row = WorkerHeartbeat.objects.create(
            worker="w", engine="onnx", model_digest="d" * 64,
            started_at=timezone.now(), seen_at=timezone.now(),
        )  # fmt: skip
        assert body_of(api.get("/v2/models/dmfnet/ready")) == {"name": "dmfnet", "ready": True}
        assert Api().get("/v2/health/ready").status_code == 200
        WorkerHeartbeat.objects.filter(pk=row.pk).update(seen_at=OLD)
        assert api.get("/v2/models/dmfnet/ready").status_code == 503

    def test_the_rest_needs_one_and_errors_keep_the_shape(self, cast: Cast) -> None:
        for path in ("/v2/", "/v2/models/dmfnet", "/v2/models/dmfnet/ready"):
            answer = Api().get(path)
            assert (answer.status_code, set(body_of(answer))) == (401, {"error"})
        answer = Api(token_of(cast.technician)).get("/v2/models/dmfnet")
        assert (answer.status_code, set(body_of(answer))) == (503, {"error"})
        answer = Api().get("/v2/models")
        assert (answer.status_code, set(body_of(answer))) == (404, {"error"})

    def test_nobody_waits_for_ever(self, api: Api, registered: ModelVersion, settings: Any) -> None:
        settings.INFER_WAIT_SECONDS = 0
        answer = _infer(api, _encoded(picture()))
        assert answer.status_code == 503
        assert answer["Retry-After"]
        assert CellImage.objects.count() == 1
