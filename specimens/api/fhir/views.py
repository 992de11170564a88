"""Reading, searching and creating resources: one view for each kind of address."""

from typing import Any, ClassVar

from django.http import Http404
from rest_framework import status
from rest_framework.parsers import FormParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.fhir import bundles
from specimens.api.fhir.base import (
    FhirView,
    base_url,
    is_known,
    person,
    records_of,
    tagged,
)
from specimens.api.fhir.capability import capability_statement
from specimens.api.fhir.creating import create
from specimens.api.fhir.queries import is_strict, understand
from specimens.models import TokenGrant
from specimens.selectors.fhir_documents import bundle_of
from specimens.selectors.fhir_kinds import Kind
from specimens.selectors.fhir_search import (
    Found,
    Page,
    count,
    read,
    read_version,
    search,
    versions,
)
from specimens.services.fhir import record_look


class MetadataView(FhirView):
    """What this server can do; open to all, for it says nothing of a patient."""

    authentication_classes = []
    permission_classes = [AllowAny]

    def get(self, request: Request) -> Response:
        """Answer the CapabilityStatement."""
        return Response(capability_statement(base_url(request)))


class KindView(FhirView):
    """A view of one resource type."""

    kind: ClassVar[Kind]

    def answer(self, request: Request, found: Found | None, interaction: str) -> Response:
        """Record the look, then answer the resource; 304 to who has this version."""
        if found is None:
            raise Http404
        record_look(actor=person(request), found=[found], interaction=interaction)
        headers = tagged(found.resource)
        if is_known(request, headers):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(found.resource, headers=headers)


class ReadView(KindView):
    def get(self, request: Request, ident: str) -> Response:
        """Answer a resource as it is now."""
        return self.answer(request, read(records_of(request), self.kind, ident), "read")


class VersionView(KindView):
    def get(self, request: Request, ident: str, version: str) -> Response:
        """Answer a version of a report; a signed one never changes."""
        return self.answer(request, read_version(records_of(request), ident, version), "vread")


class HistoryView(KindView):
    def get(self, request: Request, ident: str) -> Response:
        """Answer the versions of a report, the newest first."""
        records = records_of(request)
        found = versions(records, ident)
        if not found:
            raise Http404
        record_look(actor=person(request), found=found, interaction="history")
        return Response(bundles.history(found, records.base, request.build_absolute_uri()))


class SearchView(KindView):
    """A search in the address."""

    def get(self, request: Request) -> Response:
        """Answer a page of what matches."""
        pairs = [(name, v) for name, vs in request.query_params.lists() for v in vs]
        return _searched(self, request, pairs)


class CreatingView(SearchView):
    """A search in the address; a POST creates."""

    def post(self, request: Request) -> Response:
        """Record a new resource, or say that it is recorded already."""
        return create(self.kind, request)


class PostedSearchView(KindView):
    """A search in a form: the numbers of patients stay out of addresses and logs."""

    parser_classes = [FormParser]
    required_scope = TokenGrant.Scope.READ

    def post(self, request: Request) -> Response:
        """Answer a page of what matches; parameters of the address count, too."""
        pairs = [(name, v) for name, vs in request.query_params.lists() for v in vs]
        form: Any = request.data
        pairs += [(name, str(v)) for name, vs in form.lists() for v in vs]
        return _searched(self, request, pairs)


def _searched(view: KindView, request: Request, pairs: list[tuple[str, str]]) -> Response:
    records = records_of(request)
    query = understand(view.kind, pairs, strict=is_strict(request))
    url = f"{records.base}{view.kind.name}"
    if query.only_count:
        return Response(bundles.total(count(records, query.asked), query, url))
    page = search(records, query.asked)
    _record(request, page)
    return Response(bundles.searchset(page, query, url, records.base))


def _record(request: Request, page: Page) -> None:
    found = [*page.matches, *page.included]
    record_look(actor=person(request), found=found, interaction="search")


class DocumentView(FhirView):
    """A report with everything it refers to, the PDF within."""

    def get(self, request: Request, ident: str) -> Response:
        """Answer the Bundle `report-{id of the DiagnosticReport}`."""
        records = records_of(request)
        document = bundle_of(records, ident)
        if document is None:
            raise Http404
        bundle, found = document
        record_look(actor=person(request), found=[found], interaction="document")
        return Response(bundle)


class NothingHereView(FhirView):
    """Any other address below /fhir/."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Answer 404 whatever the method."""
        raise Http404
