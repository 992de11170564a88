"""The addresses below /fhir/, made of what KINDS says there is."""

from collections.abc import Iterator

from django.urls import URLPattern, path, re_path

from specimens.api.fhir import views
from specimens.api.fhir.binaries import BinaryView
from specimens.selectors.fhir_kinds import KINDS, Kind


def _of(kind: Kind) -> Iterator[URLPattern]:
    """Search, create, read, and the versions where there are any."""

    def bound(view: type[views.KindView]) -> type[views.KindView]:
        return type(f"{kind.name}{view.__name__}", (view,), {"kind": kind})

    name = kind.name
    searching = views.CreatingView if kind.creates else views.SearchView
    yield path(name, bound(searching).as_view(), name=f"fhir_{name}")
    yield path(f"{name}/_search", bound(views.PostedSearchView).as_view())
    yield path(f"{name}/<str:ident>", bound(views.ReadView).as_view(), name=f"fhir_{name}_one")
    if kind.has_versions:
        yield path(f"{name}/<str:ident>/_history", bound(views.HistoryView).as_view())
        yield path(f"{name}/<str:ident>/_history/<str:version>", bound(views.VersionView).as_view())


urlpatterns: list[URLPattern] = [
    path("metadata", views.MetadataView.as_view(), name="fhir_metadata"),
    *(pattern for kind in KINDS.values() for pattern in _of(kind)),
    path("Bundle/<str:ident>", views.DocumentView.as_view(), name="fhir_Bundle_one"),
    path("Binary/<str:ident>", BinaryView.as_view(), name="fhir_Binary_one"),
    re_path(r"", views.NothingHereView.as_view()),
]
