"""What a predict call says to forms and files it does not want; none of this needs a worker."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from specimens.models import CellImage, Job
from tests.api.client import Api, body_of
from tests.api.pictures import HOSTILE, Hostile, image
from tests.factories import picture, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db, pytest.mark.usefixtures("unwatched")]

PATHS = ("/api/predict", "/api/predict_batch")


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_each_bad_file_gets_its_own_answer(api: Api, hostile: Hostile) -> None:
    response = api.predict(hostile.content, hostile.name)
    assert (response.status_code, body_of(response)["code"]) == (hostile.status, hostile.code)
    assert body_of(response)["accepted"]["formats"] == [
        "JPEG", "PNG", "BMP", "TIFF", "GIF", "DICOM",
    ]  # fmt: skip
    assert "Accepted: " in body_of(response)["error"]
    assert not CellImage.objects.exists()


def test_all_bad_files_in_one_batch(api: Api, settings: Any) -> None:
    settings.PREDICT_BATCH_LIMIT = len(HOSTILE)
    response = api.predict_batch(*(hostile.content for hostile in HOSTILE))
    assert response.status_code == 422
    body = body_of(response)
    assert [entry["code"] for entry in body["batch_results"]] == [h.code for h in HOSTILE]
    assert body["success"] is False
    assert (body["successful_predictions"], body["success_rate"]) == (0, 0.0)


@pytest.mark.parametrize(("path", "field"), list(zip(PATHS, ("file", "images"), strict=True)))
class TestForms:
    """Forms without a usable file, for both calls."""

    def test_no_file(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, {})
        assert (response.status_code, body_of(response)["code"]) == (400, "no_file")
        assert f'"{field}"' in body_of(response)["error"]

    def test_no_body_at_all(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, b"", content_type="")
        assert (response.status_code, body_of(response)["code"]) == (400, "no_file")

    def test_wrong_field(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, {"picture": upload()})
        assert (response.status_code, body_of(response)["code"]) == (400, "no_file")
        assert (
            f'no file in the field "{field}"; there is one in "picture"'
            in (body_of(response)["error"])
        )

    def test_text_instead_of_a_file(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, {field: "cell.png"})
        assert (response.status_code, body_of(response)["code"]) == (400, "no_file")
        assert "came as text" in body_of(response)["error"]

    @pytest.mark.parametrize("content_type", ["application/json", "image/png", "text/plain"])
    def test_another_content_type(self, api: Api, path: str, field: str, content_type: str) -> None:
        response = api.post(path, b'{"image": 1}', content_type=content_type)
        assert (response.status_code, body_of(response)["code"]) == (
            415,
            "unsupported_content_type",
        )
        assert content_type in body_of(response)["error"]

    def test_a_form_without_boundary(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, b"--x\r\n", content_type="multipart/form-data")
        assert (response.status_code, body_of(response)["code"]) == (400, "malformed_request")
        assert "boundary" in body_of(response)["error"]

    def test_a_form_cut_off_before_its_last_boundary(self, api: Api, path: str, field: str) -> None:
        body = _form(field, "cell.png", picture()).partition(b"\r\n--frontier--")[0]
        response = api.post(path, body, content_type="multipart/form-data; boundary=frontier")
        assert (response.status_code, body_of(response)["code"]) == (400, "no_file")
        assert "no complete file" in body_of(response)["error"]

    def test_broken_base64(self, api: Api, path: str, field: str) -> None:
        body = _form(field, "x.png", b"?", "Content-Transfer-Encoding: base64\r\n")
        response = api.post(path, body, content_type="multipart/form-data; boundary=frontier")
        assert (response.status_code, body_of(response)["code"]) == (400, "malformed_request")

    def test_thousands_of_text_fields(self, api: Api, path: str, field: str) -> None:
        form = {f"f{i}": "x" for i in range(2000)}
        response = api.post(path, form)
        assert (response.status_code, body_of(response)["code"]) == (413, "too_large")

    def test_a_text_field_of_megabytes(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, {field: "x" * 3_000_000})
        assert (response.status_code, body_of(response)["code"]) == (413, "too_large")

    def test_hundreds_of_files(self, api: Api, path: str, field: str) -> None:
        response = api.post(path, {field: [upload() for _ in range(250)]})
        assert (response.status_code, body_of(response)["code"]) == (413, "too_many_images")
        assert not CellImage.objects.exists()


def _form(field: str, name: str, content: bytes, more: str = "") -> bytes:
    head = f'--frontier\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    return head.encode() + more.encode() + b"\r\n" + content + b"\r\n--frontier--\r\n"


def test_two_files_in_one_predict_call(api: Api) -> None:
    response = api.post("/api/predict", {"file": [upload(1), upload(2)]})
    assert (response.status_code, body_of(response)["code"]) == (400, "too_many_images")
    assert "/api/predict_batch" in body_of(response)["error"]
    assert not CellImage.objects.exists()


def test_eleven_images_store_nothing(api: Api) -> None:
    response = api.predict_batch(*(picture(i) for i in range(11)))
    assert (response.status_code, body_of(response)["code"]) == (413, "too_many_images")
    assert "11 images; one call takes up to 10" in body_of(response)["error"]
    assert not CellImage.objects.exists()


def test_ten_images_are_taken(api: Api) -> None:
    response = api.predict_batch(*(picture(i) for i in range(10)))
    assert response.status_code == 202
    assert Job.objects.filter(priority=Job.Urgency.WAITING_CLIENT).count() == 10


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\cells\\one.png", "one.png"),
        ("a\x00b\x07.png", "ab.png"),
        ("Zellfärbung №7 血.png", "Zellfärbung №7 血.png"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("invoice.exe", "invoice.exe"),
        ("noname", "noname"),
        ("two words.PNG", "two words.PNG"),
    ],
)
def test_names_are_only_told_never_used(api: Api, sent: str, told: str) -> None:
    body = _form("file", sent, picture())
    content_type = "multipart/form-data; boundary=frontier"
    response = api.post("/api/predict", body, content_type=content_type)
    assert response.status_code == 202
    assert body_of(response)["filename"] == told
    image_row = CellImage.objects.get()
    assert image_row.filename == told
    assert Path(str(image_row.file.name)).suffix == ".png"


def test_the_content_decides_what_a_file_is(api: Api) -> None:
    response = api.predict(image(format="JPEG"), "scan.dcm")
    assert response.status_code == 202
    assert CellImage.objects.get().media_type == "image/jpeg"


def test_a_name_without_anything_in_it_is_no_file(api: Api) -> None:
    response = api.post(
        "/api/predict",
        _form("file", "", picture()),
        content_type="multipart/form-data; boundary=frontier",
    )
    assert (response.status_code, body_of(response)["code"]) == (400, "no_file")


def test_one_bad_image_does_not_spoil_the_others(api: Api) -> None:
    response = api.predict_batch(picture(1), b"no picture", picture(2))
    assert response.status_code == 202
    entries = body_of(response)["batch_results"]
    assert [entry.get("code") or entry["status"] for entry in entries] == [
        "queued",
        "not_an_image",
        "queued",
    ]
    assert [entry["filename"] for entry in entries] == ["0.png", "1.png", "2.png"]
    assert CellImage.objects.count() == 2


def test_the_whole_queue_is_full(api: Api, settings: Any) -> None:
    settings.QUEUE_LIMIT = 1
    assert api.predict(picture(1)).status_code == 202
    assert api.predict(picture(2)).status_code == 202
    response = api.predict(picture(3))
    assert (response.status_code, body_of(response)["code"]) == (503, "queue_full")
    assert int(response["Retry-After"]) > 0
    assert "nothing was stored" in body_of(response)["error"]
    assert CellImage.objects.count() == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_store_that_cannot_be_written(api: Api, settings: Any, path: str) -> None:
    root = Path(settings.MEDIA_ROOT)
    root.parent.mkdir(parents=True, exist_ok=True)
    root.write_text("a file stands where the folder of the images should be")
    field = "file" if path.endswith("predict") else "images"
    response = api.post(path, {field: upload()})
    assert (response.status_code, body_of(response)["code"]) == (507, "storage_unavailable")
    assert not CellImage.objects.exists()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
def test_other_methods(api: Api, method: str, path: str) -> None:
    response = api.request(method, path)
    assert (response.status_code, body_of(response)["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png", "nonsense"])
def test_json_whatever_is_asked_for(api: Api, accept: str) -> None:
    response = api.predict(b"", headers={"accept": accept})
    assert response.status_code == 400
    assert api.get("/api/health?format=xml", headers={"accept": accept}).status_code in (200, 503)


def test_form_order_is_the_answers_order(api: Api) -> None:
    files = [
        SimpleUploadedFile(f"{name}.png", picture(i)) for i, name in enumerate(("z", "a", "m"))
    ]
    response = api.post("/api/predict_batch", {"images": files})
    names = [entry["filename"] for entry in body_of(response)["batch_results"]]
    assert names == ["z.png", "a.png", "m.png"]


def test_the_same_image_twice_is_classified_twice(api: Api) -> None:
    api.predict_batch(picture(), picture())
    assert CellImage.objects.count() == 2


def test_a_stream_is_read_once_and_closed(api: Api) -> None:
    stream = io.BytesIO(picture())
    stream.name = "cell.png"
    assert api.post("/api/predict", {"file": stream}).status_code == 202
