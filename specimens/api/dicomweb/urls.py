"""The addresses below /dicom-web/ (PS3.18 sections 10.4 to 10.6)."""

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from specimens.api.dicomweb.authentication import DicomWebAuthentication
from specimens.api.dicomweb.base import DicomWebView
from specimens.api.dicomweb.retrieve import metadata_answer, retrieve_answer
from specimens.api.dicomweb.search import search_answer
from specimens.api.dicomweb.store import MayStore, store
from specimens.api.service import NothingHereView
from specimens.dicom.dicomweb import Level


class _StoringView(DicomWebView):
    """GET reads; POST stores, for senders with a token."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Leave the session out where the body is not a form."""
        if self.request is not None and self.request.method == "POST":
            return [DicomWebAuthentication()]
        return super().get_authenticators()

    def get_permissions(self) -> list[BasePermission]:
        """Ask for another permission to store than to read."""
        if self.request.method == "POST":
            return [MayStore()]
        return super().get_permissions()  # type: ignore[return-value]


class StudiesView(_StoringView):
    """All studies: search, store."""

    def get(self, request: Request) -> HttpResponse:
        """Search for studies."""
        return search_answer(request, "study")

    def post(self, request: Request) -> HttpResponse:
        """Store instances of any study."""
        return store(request)


class StudyView(_StoringView):
    """One study: fetch it, store more of it."""

    def get(self, request: Request, study: str) -> HttpResponseBase:
        """Fetch its instances."""
        return retrieve_answer(request, study)

    def post(self, request: Request, study: str) -> HttpResponse:
        """Store instances of this study."""
        return store(request, study)


class SearchView(DicomWebView):
    """Search for series or instances, perhaps within a study or series."""

    level: Level = "series"

    def get(self, request: Request, study: str = "", series: str = "") -> HttpResponse:
        """Search."""
        return search_answer(request, self.level, study, series)


class RetrieveView(DicomWebView):
    """Fetch the instances of a series, or one."""

    def get(
        self, request: Request, study: str, series: str, instance: str = ""
    ) -> HttpResponseBase:
        """Fetch."""
        return retrieve_answer(request, study, series, instance)


class MetadataView(DicomWebView):
    """What the data sets say, without pixels."""

    def get(
        self, request: Request, study: str, series: str = "", instance: str = ""
    ) -> HttpResponse:
        """Fetch the metadata."""
        return metadata_answer(request, study, series, instance)


_series = SearchView.as_view(level="series")
_instances = SearchView.as_view(level="instance")
_metadata = MetadataView.as_view()
_STUDY = "studies/<str:study>"
_SERIES = f"{_STUDY}/series/<str:series>"
_INSTANCE = f"{_SERIES}/instances/<str:instance>"

urlpatterns: list[URLPattern] = [
    path("studies", StudiesView.as_view(), name="dicomweb_studies"),
    path("series", _series),
    path("instances", _instances),
    path(_STUDY, StudyView.as_view()),
    path(f"{_STUDY}/metadata", _metadata),
    path(f"{_STUDY}/series", _series),
    path(f"{_STUDY}/instances", _instances),
    path(_SERIES, RetrieveView.as_view()),
    path(f"{_SERIES}/metadata", _metadata),
    path(f"{_SERIES}/instances", _instances),
    path(_INSTANCE, RetrieveView.as_view()),
    path(f"{_INSTANCE}/metadata", _metadata),
    re_path(r"", NothingHereView.as_view(schema=None)),
]
