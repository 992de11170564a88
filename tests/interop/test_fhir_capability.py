"""The CapabilityStatement lists what is routed, no more and no less."""

import re
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from specimens.api.fhir.capability import capability_statement
from specimens.api.fhir.urls import urlpatterns
from tests.interop.fhir_laboratory import checked

pytestmark = pytest.mark.core

# What an address and a method amount to, written from R4's page on the RESTful API.
INTERACTIONS = {
    ("GET", "{type}"): "search-type",
    ("POST", "{type}/_search"): "search-type",
    ("POST", "{type}"): "create",
    ("GET", "{type}/{id}"): "read",
    ("GET", "{type}/{id}/_history"): "history-instance",
    ("GET", "{type}/{id}/_history/{vid}"): "vread",
}


def routed() -> dict[str, set[str]]:
    """Interactions by type, out of the addresses and the methods their views answer."""
    found: dict[str, set[str]] = {}
    for pattern in urlpatterns:
        route = str(pattern.pattern)
        kind = route.split("/")[0]
        if not re.fullmatch("[A-Z][A-Za-z]+", kind):
            continue
        shape = route.replace(kind, "{type}", 1)
        shape = shape.replace("<str:ident>", "{id}").replace("<str:version>", "{vid}")
        view: Any = pattern.callback
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if hasattr(view.view_class, method.lower()):
                found.setdefault(kind, set()).add(INTERACTIONS[method, shape])
    return found


def test_it_lists_exactly_what_is_routed() -> None:
    statement = checked(capability_statement("https://lab.example/fhir/"))
    (rest,) = statement["rest"]
    listed = {
        one["type"]: {interaction["code"] for interaction in one["interaction"]}
        for one in rest["resource"]
    }
    assert listed == routed()
    assert len(rest["resource"]) == len(listed)


def test_it_says_what_searches_know() -> None:
    statement = capability_statement("https://lab.example/fhir/")
    kinds = {one["type"]: one for one in statement["rest"][0]["resource"]}
    report = kinds["DiagnosticReport"]
    names = {one["name"] for one in report["searchParam"]}
    assert {"identifier", "patient", "accession", "date", "status", "category", "code"} <= names
    assert "DiagnosticReport:subject" in report["searchInclude"]
    assert report["searchRevInclude"] == ["Provenance:target"]
    assert kinds["Patient"]["conditionalCreate"] is True
    assert "conditionalCreate" not in kinds["Specimen"]
    assert "webhook" in statement["rest"][0]["documentation"]
    assert statement["implementation"]["url"] == "https://lab.example/fhir"


@pytest.mark.django_db
def test_the_openapi_schema_leaves_these_addresses_to_it() -> None:
    schema: Any = SchemaGenerator().get_schema(public=True)
    assert not [path for path in schema["paths"] if path.startswith("/fhir")]
