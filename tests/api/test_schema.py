"""The OpenAPI document: valid, without a warning, complete, its examples true to its shapes."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from classifier.imaging.refusal import ACCEPTED
from specimens.api.errors import REFUSAL_STATUS
from tests.api.client import check_body, openapi

pytestmark = pytest.mark.core

CALLS = [
    (method, path, operation)
    for path, operations in openapi()["paths"].items()
    for method, operation in operations.items()
]


def test_it_is_valid_without_a_warning() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=io.StringIO())


def test_each_call_is_in_it_once() -> None:
    assert sorted(openapi()["paths"]) == [
        "/api/health",
        "/api/model_info",
        "/api/predict",
        "/api/predict_batch",
        "/api/predictions/{identifier}",
        "/api/v1/specimens/{id}/amendments",
        "/api/v1/specimens/{id}/reviews",
        "/api/v1/specimens/{id}/sign-out",
    ]


@pytest.mark.parametrize(("method", "path", "operation"), CALLS, ids=[c[1] for c in CALLS])
def test_each_status_has_an_example_of_its_shape(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    for status, response in operation["responses"].items():
        examples = response["content"]["application/json"]["examples"]
        assert examples, f"{path} {status} has no example"
        for example in examples.values():
            check_body(operation["responses"], int(status), example["value"])


def test_each_refusal_has_a_documented_status() -> None:
    documented = {int(code) for code in openapi()["paths"]["/api/predict"]["post"]["responses"]}
    assert set(REFUSAL_STATUS.values()) <= documented
    assert ACCEPTED.startswith("Accepted: ")


def test_the_token_is_named_as_the_way_in() -> None:
    assert openapi()["components"]["securitySchemes"]["token"]["name"] == "Authorization"
    for method, path, operation in CALLS:
        open_to_all = path == "/api/health"
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
        assert re.sub(r"{\w+}", "<id>", path) in text
        for status, response in operation["responses"].items():
            for example in response["content"]["application/json"]["examples"].values():
                code = example["value"].get("code", status)
                assert code in text, (path, status, code)
    for code in REFUSAL_STATUS:
        assert f"`{code}`" in text
