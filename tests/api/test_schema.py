"""The OpenAPI document: valid, without a warning, complete, its examples true to its shapes."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern

from classifier.imaging.refusal import ACCEPTED
from specimens.api.errors import REFUSAL_STATUS
from specimens.api.v1 import urls as v1
from specimens.api.v1.documents import PROBLEMS
from tests.api.client import check_body, openapi

CALLS = [
    (method, path, operation)
    for path, operations in openapi()["paths"].items()
    for method, operation in operations.items()
]

# The rest (FHIR, DICOMweb) keeps to its own standards.
OURS = (
    "/api/v1/", "/api/predict", "/api/health", "/api/model_info",
)  # fmt: skip


def test_it_is_valid_without_a_warning() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=io.StringIO())


def test_each_address_of_the_resources_is_in_it() -> None:
    resources = {
        "/api/v1/" + str(pattern.pattern).replace("<int:pk>", "{id}")
        for pattern in v1.urlpatterns
        if isinstance(pattern, URLPattern) and pattern.name
    }
    assert resources <= set(openapi()["paths"])
    assert openapi()["openapi"].startswith("3.1")


# The others (the Open Inference Protocol) are documented by their own tests.
OUR_CALLS = [call for call in CALLS if call[1].startswith(OURS)]


@pytest.mark.parametrize(("method", "path", "operation"), OUR_CALLS, ids=[c[1] for c in OUR_CALLS])
def test_each_status_has_an_example_of_its_shape(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if "json" not in media_type:
                continue
            assert content.get("examples"), f"{path} {status} has no example"
            for example in content["examples"].values():
                check_body(operation["responses"], int(status), example["value"], media_type)


def test_each_operation_has_its_own_name_and_a_summary() -> None:
    names = [operation["operationId"] for _, _, operation in CALLS]
    assert len(names) == len(set(names))
    for _, path, operation in CALLS:
        assert operation.get("summary"), path


def test_each_refusal_has_a_documented_status() -> None:
    documented = {int(code) for code in openapi()["paths"]["/api/predict"]["post"]["responses"]}
    assert set(REFUSAL_STATUS.values()) <= documented
    assert ACCEPTED.startswith("Accepted: ")


def test_the_token_is_named_as_the_way_in() -> None:
    assert openapi()["components"]["securitySchemes"]["token"]["name"] == "Authorization"
    for method, path, operation in CALLS:
        open_to_all = path == "/api/health" or path.startswith("/v2/health/")
        assert operation.get("security", []) == (
            [] if open_to_all else [{"token": []}, {"cookieAuth": []}]
        ), (method, path)


@pytest.mark.django_db
def test_the_document_and_its_page_are_served() -> None:
    client = Client()
    for path in ("/api/schema/", "/api/schema", "/api/schema/?format=json"):
        response = client.get(path)
        assert response.status_code == 200
        assert b"/api/predict_batch" in response.content
    assert response.headers["Content-Type"] == "application/vnd.oai.openapi+json"
    assert json.loads(response.content) == openapi()
    page = client.get("/api/docs/").content.decode()
    assert "SwaggerUIBundle" in page
    assert client.get("/api/docs").headers["Location"] == "/api/docs/"


@pytest.mark.django_db
def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = Client().get("/api/docs/").content.decode()
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]*", page)


def test_the_documentation_names_each_call_and_each_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for _, path, operation in CALLS:
        if not path.startswith(OURS) or path.startswith("/api/v1/dicom"):
            continue  # docs/dicom-conformance.md
        assert re.sub(r"{\w+}", "<id>", path).removeprefix("/api/v1") in text
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    code = example["value"].get("code", status)
                    assert code in text, (path, status, code)
    for code in (*REFUSAL_STATUS, *PROBLEMS):
        assert f"`{code}`" in text
