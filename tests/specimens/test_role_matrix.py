"""Every address of the project with every role: the status each of the cast gets.

A new address without a row here fails `test_every_address_has_a_row`.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.admin_site import site as administration
from specimens.models import (
    CodeMapping,
    DelivererHeartbeat,
    Delivery,
    Destination,
    InboundMessage,
    OrderedTest,
    PacsServer,
    SavedView,
    Specimen,
    User,
    WorkerHeartbeat,
)
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from specimens.services.second_read import start_second_read
from specimens.services.signing import sign_out_report
from tests.dicom.waiting import waiting_instance
from tests.factories import Cast, OrderFactory, make_cast, upload
from tests.portal.conftest import METADATA, Cells

pytestmark = pytest.mark.django_db

WHO: Final = (
    "anonymous", "technician", "pathologist", "administrator", "integration", "outsider",
)  # fmt: skip
PASSWORD: Final = "correct horse"
OLD: Final = datetime(2020, 1, 1, tzinfo=UTC)  # a worker that is not heard of any more
EVERYBODY: Final = (200,) * 6
_SERIES: Final = "dicom-web/studies/<str:study>/series/<str:series>"
# Pages: to the login without an account; an account of a system has none; 404 for the outsider.
ROWS: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", ""): (302, 200, 200, 200, 403, 200),
    ("GET", "search"): (302, 302, 302, 302, 403, 302),
    ("GET", "specimens/"): (302, 200, 200, 200, 403, 200),
    ("GET", "specimens/new"): (302, 200, 200, 403, 403, 200),
    ("POST", "specimens/new"): (302, 422, 422, 403, 403, 422),
    ("GET", "specimens/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("GET", "specimens/<int:pk>/live"): (302, 200, 200, 200, 403, 404),
    ("POST", "specimens/<int:pk>/images"): (401, 200, 200, 403, 403, 404),
    ("GET", "specimens/<int:pk>/dicom"): (302, 403, 200, 200, 403, 404),
    ("POST", "specimens/<int:pk>/dicom"): (302, 403, 200, 200, 403, 404),
    ("POST", "specimens/<int:pk>/requeue"): (302, 302, 302, 302, 403, 404),
    ("POST", "specimens/<int:pk>/reject"): (302, 302, 302, 403, 403, 404),
    ("GET", "review/"): (302, 200, 200, 403, 403, 200),
    ("POST", "hotkeys"): (302, 200, 200, 403, 403, 200),
    ("GET", "specimens/<int:pk>/review"): (302, 200, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/assign"): (302, 302, 302, 403, 403, 404),
    ("GET", "specimens/<int:pk>/cells.json"): (302, 200, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/reviews"): (302, 200, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/comments"): (302, 201, 201, 403, 403, 404),
    ("GET", "specimens/<int:pk>/second-read"): (302, 200, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/second-read/start"): (302, 302, 302, 403, 403, 404),
    # A read is its reader's alone: the pathologist's.
    ("GET", "specimens/<int:pk>/second-read/cells.json"): (302, 404, 200, 404, 403, 404),
    ("POST", "specimens/<int:pk>/second-read/labels"): (302, 404, 400, 404, 403, 404),
    ("POST", "specimens/<int:pk>/second-read/finish"): (302, 404, 302, 404, 403, 404),
    ("GET", "specimens/<int:pk>/label"): (302, 200, 200, 200, 403, 404),
    ("GET", "specimens/<int:pk>/sign-out"): (302, 403, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/sign-out"): (302, 403, 422, 403, 403, 404),
    ("POST", "specimens/<int:pk>/amend"): (302, 403, 422, 403, 403, 404),
    ("GET", "reports/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("GET", "reports/<int:pk>.pdf"): (302, 200, 200, 200, 403, 404),
    ("GET", "reports/<int:pk>.csv"): (302, 200, 200, 200, 403, 404),
    ("GET", "reports/<int:pk>.json"): (302, 200, 200, 200, 403, 404),
    ("POST", "views"): (302, 302, 302, 302, 403, 302),
    # A saved view is its owner's alone: the technician's.
    ("POST", "views/<int:pk>/delete"): (302, 302, 404, 404, 403, 404),
    ("GET", "deliveries/"): (302, 200, 200, 200, 403, 200),
    ("GET", "deliveries/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("GET", "deliveries/<int:pk>/payload"): (302, 403, 200, 200, 403, 404),
    ("POST", "deliveries/<int:pk>/retry"): (302, 302, 302, 302, 403, 404),
    ("POST", "deliveries/<int:pk>/cancel"): (302, 403, 422, 422, 403, 404),
    ("GET", "deliveries/reconciliation"): (302, 200, 200, 200, 403, 200),
    ("GET", "destinations/"): (302, 403, 403, 200, 403, 403),
    ("GET", "destinations/new"): (302, 403, 403, 200, 403, 403),
    ("POST", "destinations/new"): (302, 403, 403, 422, 403, 403),
    ("GET", "destinations/<int:pk>"): (302, 403, 403, 200, 403, 404),
    ("POST", "destinations/<int:pk>"): (302, 403, 403, 422, 403, 404),
    ("POST", "destinations/<int:pk>/probe"): (302, 403, 403, 302, 403, 404),
    ("POST", "destinations/<int:pk>/retry"): (302, 302, 302, 302, 403, 404),
    ("POST", "destinations/<int:pk>/queue"): (302, 403, 403, 404, 403, 404),
    # The archive of this world is switched off: nothing to choose from, nothing to fetch from.
    ("GET", "specimens/<int:pk>/pacs"): (302, 200, 200, 403, 403, 404),
    ("POST", "specimens/<int:pk>/pacs/fetch"): (302, 404, 404, 403, 403, 404),
    ("GET", "dicom/network"): (302, 403, 403, 200, 403, 403),
    ("POST", "dicom/network/archives/<int:pk>/test"): (302, 403, 403, 302, 403, 403),
    ("GET", "audit/"): (302, 403, 403, 200, 403, 403),
    ("GET", "dicom/unmatched"): (302, 200, 200, 200, 403, 200),
    ("GET", "dicom/unmatched/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("POST", "dicom/unmatched/<int:pk>/assign"): (302, 422, 422, 403, 403, 404),
    ("POST", "dicom/unmatched/<int:pk>/discard"): (302, 422, 422, 403, 403, 404),
    ("GET", "dicom/unmatched/<int:pk>/frames/<int:number>"): (302, 200, 200, 200, 403, 404),
    ("GET", "cells/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("GET", "cells/<int:pk>/image"): (302, 200, 200, 200, 403, 404),
    ("GET", "cells/<int:pk>/thumbnail"): (302, 200, 200, 200, 403, 404),
    ("GET", "cells/<int:pk>/explanation"): (302, 200, 200, 200, 403, 404),
    ("GET", "inbound/"): (302, 200, 200, 200, 403, 200),
    ("GET", "inbound/<int:pk>"): (302, 200, 200, 200, 403, 404),
    ("POST", "inbound/<int:pk>/retry"): (302, 422, 422, 403, 403, 404),
    ("POST", "inbound/<int:pk>/discard"): (302, 422, 422, 403, 403, 404),
    ("GET", "orders/<int:pk>/accession"): (302, 200, 200, 403, 403, 404),
    ("GET", "codes/"): (302, 403, 403, 200, 403, 403),
    ("GET", "model/"): (302, 200, 200, 200, 403, 200),
    # Switched off: no token is set, and with one no role helps (tests/operations).
    ("GET", "metrics"): (404,) * 6,
    ("GET", "login"): (200, 302, 302, 302, 302, 302),
    ("GET", "login/code"): (302,) * 6,  # nobody's password was right a moment ago
    ("POST", "logout"): (302,) * 6,
    ("GET", "session"): (401, 200, 200, 200, 200, 200),
    ("GET", "second-factor"): (302, 200, 200, 200, 403, 200),
    ("POST", "second-factor"): (302, 422, 422, 422, 403, 422),
    ("GET", "second-factor/new"): (302, 200, 200, 200, 403, 200),
    ("POST", "second-factor/new"): (302, 422, 422, 422, 403, 422),
    ("GET", "password"): (302, 200, 200, 200, 200, 200),
    ("GET", "password/done"): (302, 200, 200, 200, 200, 200),
    # REST: 401 without an account, the role decides, 404 for what is not of the own sites.
    ("POST", "api/predict"): (401, 400, 400, 400, 400, 400),
    ("POST", "api/predict/"): (401, 400, 400, 400, 400, 400),
    ("POST", "api/predict_batch"): (401, 400, 400, 400, 400, 400),
    ("POST", "api/predict_batch/"): (401, 400, 400, 400, 400, 400),
    ("GET", "api/predictions/<str:identifier>"): (401, 404, 404, 404, 404, 404),
    ("GET", "api/predictions/<str:identifier>/"): (401, 404, 404, 404, 404, 404),
    # No worker runs in this test: not healthy, and everybody may know.
    ("GET", "api/health"): (503,) * 6,
    ("GET", "api/health/"): (503,) * 6,
    ("GET", "api/model_info"): (401, 200, 200, 200, 200, 200),
    ("GET", "api/model_info/"): (401, 200, 200, 200, 200, 200),
    ("GET", "api/schema/"): EVERYBODY,
    ("GET", "api/schema"): EVERYBODY,
    ("GET", "api/docs/"): EVERYBODY,
    ("GET", "api/docs"): (302,) * 6,
    # DICOMweb: a token or a session to look, and nothing is there; a token to store.
    ("GET", "dicom-web/studies"): (401, 200, 200, 200, 200, 200),
    ("POST", "dicom-web/studies"): (401,) * 6,
    ("GET", "dicom-web/series"): (401, 200, 200, 200, 200, 200),
    ("GET", "dicom-web/instances"): (401, 200, 200, 200, 200, 200),
    ("GET", "dicom-web/studies/<str:study>"): (401, 404, 404, 404, 404, 404),
    ("POST", "dicom-web/studies/<str:study>"): (401,) * 6,
    ("GET", "dicom-web/studies/<str:study>/metadata"): (401, 404, 404, 404, 404, 404),
    ("GET", "dicom-web/studies/<str:study>/series"): (401, 200, 200, 200, 200, 200),
    ("GET", "dicom-web/studies/<str:study>/instances"): (401, 200, 200, 200, 200, 200),
    ("GET", f"{_SERIES}"): (401, 404, 404, 404, 404, 404),
    ("GET", f"{_SERIES}/metadata"): (401, 404, 404, 404, 404, 404),
    ("GET", f"{_SERIES}/instances"): (401, 200, 200, 200, 200, 200),
    ("GET", f"{_SERIES}/instances/<str:instance>"): (401, 404, 404, 404, 404, 404),
    ("GET", f"{_SERIES}/instances/<str:instance>/metadata"): (401, 404, 404, 404, 404, 404),
    ("GET", "dicom-web/"): (404,) * 6,
    ("POST", "api/v1/dicom/"): (401, 415, 415, 403, 415, 415),
    ("POST", "api/v1/dicom"): (401, 415, 415, 403, 415, 415),
    ("GET", "api/"): (404,) * 6,
    # The administration: a login page for who is not one, which refuses who is logged in.
    ("GET", "admin/login/"): (302, 403, 403, 302, 403, 403),
    ("GET", "admin/password_change/"): (302,) * 6,
    ("GET", "admin/password_change/done/"): (302, 302, 302, 200, 302, 302),
    ("POST", "admin/logout/"): (302,) * 6,
    ("GET", "admin/"): (302, 302, 302, 200, 302, 302),
    ("GET", "admin/autocomplete/"): (302, 302, 302, 403, 302, 302),
    ("GET", "admin/jsi18n/"): (302, 302, 302, 200, 302, 302),
    ("GET", "admin/r/<path:content_type_id>/<path:object_id>/"): (302, 302, 302, 404, 302, 302),
    ("GET", "admin/^(?P<app_label>classifier|specimens)/$"): (302, 302, 302, 200, 302, 302),
    ("GET", "admin/(?P<url>.*)$"): (302, 302, 302, 404, 302, 302),
    ("GET", "admin/specimens/user/<id>/password/"): (302, 302, 302, 200, 302, 302),
}
# FHIR: whoever has a token reads what is of the own sites; a model belongs to none.
_OF_A_SITE: Final = (401, 200, 200, 200, 200, 404)
for _kind in (
    "Patient", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "Provenance",
    "Device", "Organization", "Practitioner",
):  # fmt: skip
    ROWS["GET", f"fhir/{_kind}"] = (401, *EVERYBODY[1:])
    ROWS["POST", f"fhir/{_kind}/_search"] = (401, *EVERYBODY[1:])
    ROWS["GET", f"fhir/{_kind}/<str:ident>"] = _OF_A_SITE
ROWS |= {
    ("POST", "fhir/Patient"): (401, 400, 400, 403, 400, 400),
    ("POST", "fhir/ServiceRequest"): (401, 400, 400, 403, 400, 400),
    ("GET", "fhir/Device/<str:ident>"): (401, *EVERYBODY[1:]),
    ("GET", "fhir/DiagnosticReport/<str:ident>/_history"): _OF_A_SITE,
    ("GET", "fhir/DiagnosticReport/<str:ident>/_history/<str:version>"): _OF_A_SITE,
    ("GET", "fhir/Bundle/<str:ident>"): _OF_A_SITE,
    ("GET", "fhir/Binary/<str:ident>"): _OF_A_SITE,
    ("GET", "fhir/metadata"): EVERYBODY,
    ("GET", "fhir/"): (404,) * 6,
}
# REST v1: lists for all roles; one object, for those of its site; writing as on the pages.
_ONE: Final = (401, 200, 200, 200, 200, 404)
for _noun in ("orders", "specimens", "cells", "predictions", "reviews", "reports", "deliveries"):
    ROWS["GET", f"api/v1/{_noun}"] = (401, *EVERYBODY[1:])
    ROWS["GET", f"api/v1/{_noun}/<int:pk>"] = _ONE
ROWS |= {
    ("POST", "api/v1/orders"): (401, 400, 400, 403, 400, 400),
    ("PATCH", "api/v1/orders/<int:pk>"): (401, 428, 428, 403, 428, 404),
    ("POST", "api/v1/specimens"): (401, 400, 400, 403, 400, 400),
    ("PATCH", "api/v1/specimens/<int:pk>"): (401, 428, 428, 403, 428, 404),
    ("POST", "api/v1/specimens/<int:pk>/rejection"): (401, 400, 400, 403, 403, 404),
    ("GET", "api/v1/specimens/<int:pk>/cells"): _ONE,
    ("POST", "api/v1/specimens/<int:pk>/cells"): (401, 415, 415, 403, 415, 404),
    ("GET", "api/v1/specimens/<int:pk>/reviews"): _ONE,
    ("POST", "api/v1/specimens/<int:pk>/reviews"): (401, 400, 400, 403, 403, 404),
    ("GET", "api/v1/specimens/<int:pk>/sign-out"): (401, 403, 200, 403, 403, 403),
    ("POST", "api/v1/specimens/<int:pk>/sign-out"): (401, 403, 400, 403, 403, 403),
    ("POST", "api/v1/specimens/<int:pk>/amendments"): (401, 403, 400, 403, 403, 403),
    ("GET", "api/v1/cells/<int:pk>/image"): _ONE,
    ("GET", "api/v1/cells/<int:pk>/thumbnail"): _ONE,
    ("GET", "api/v1/reports/<int:pk>/pdf"): _ONE,
    ("POST", "api/v1/deliveries/<int:pk>/retry"): (401, 428, 428, 428, 403, 404),
    ("POST", "api/v1/deliveries/<int:pk>/cancel"): (401, 403, 400, 400, 403, 403),
    # The session that this test comes with has no token.
    ("GET", "api/v1/tokens/current"): (401, 403, 403, 403, 403, 403),
    ("POST", "api/v1/tokens/rotate"): (401, 403, 403, 403, 403, 403),
    ("GET", "api/v1/"): (404,) * 6,
    ("GET", "v2/"): (401, *EVERYBODY[1:]),
    ("GET", "v2/health/live"): EVERYBODY,
    ("GET", "v2/health/ready"): (503,) * 6,
}
for _model in ("v2/models/<str:name>", "v2/models/<str:name>/versions/<str:version>"):
    ROWS["GET", _model] = (401, *EVERYBODY[1:])
    ROWS["GET", f"{_model}/ready"] = (401, 503, 503, 503, 503, 503)
    ROWS["POST", f"{_model}/infer"] = (401, 400, 400, 400, 400, 400)
# What an administrator gets at the list, add, history, delete and change page of each model.
ADMINISTERED: Final[dict[str, tuple[int, int, int, int, int]]] = {
    "specimens/user": (200, 200, 200, 403, 200),
    "specimens/site": (200, 200, 200, 403, 200),
    "specimens/referencerange": (200, 200, 200, 200, 200),
    "specimens/queuerule": (200, 200, 200, 200, 200),
    "specimens/codemapping": (200, 200, 200, 200, 200),
    "classifier/modelversion": (200, 403, 200, 403, 200),
    "specimens/prediction": (200, 403, 200, 403, 200),
    "specimens/auditevent": (200, 403, 200, 403, 200),
    "specimens/report": (200, 403, 200, 403, 200),
    "specimens/review": (200, 403, 200, 403, 200),
    "specimens/job": (200, 403, 200, 403, 200),
    "specimens/workerheartbeat": (200, 403, 200, 403, 200),
    "specimens/orderedtest": (200, 200, 200, 200, 200),
    "specimens/pacsserver": (200, 200, 200, 200, 200),
    "specimens/destination": (200, 403, 200, 403, 200),
    "specimens/delivery": (200, 403, 200, 403, 200),
    "specimens/delivererheartbeat": (200, 403, 200, 403, 200),
}
_ADMIN_PAGES: Final = (
    "", "add/", "<path:object_id>/history/", "<path:object_id>/delete/", "<path:object_id>/change/",
)  # fmt: skip
for _model, _statuses in ADMINISTERED.items():
    for _page, _status in zip(_ADMIN_PAGES, _statuses, strict=True):
        ROWS["GET", f"admin/{_model}/{_page}"] = (302, 302, 302, _status, 302, 302)
    # Django's old address of the change page leads on to it.
    ROWS["GET", f"admin/{_model}/<path:object_id>/"] = (302,) * 6


def _session_of(person: User) -> str:
    """Return the cookie of somebody who has just logged in."""
    client = Client()
    client.force_login(person)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def test_every_address_has_a_row() -> None:
    routes = set(_routes(get_resolver().url_patterns))
    listed = {route for _, route in ROWS}
    assert routes - listed == set(), "give each new address a row in ROWS"
    assert listed - routes == set(), "these rows are of addresses that are gone"


class World:
    """One case in review, one signed case, and an object for every kind of address."""

    def __init__(self, cast: Cast, cells: Cells) -> None:
        self.cast, self.images = cast, settings.MEDIA_ROOT
        self._sessions = {who: _session_of(getattr(cast, who)) for who in WHO[1:]}
        cast.site.target_cells = 1
        cast.site.save()
        self.case = self._reviewed(cast, cells)
        self.signed = self._reviewed(cast, cells)
        self.cell = self.case.cell_images.get()
        self.destination = Destination.objects.create(
            site=cast.site, name="LIS", kind="webhook", address="https://lis.invalid/"
        )
        self.report = sign_out_report(
            actor=cast.pathologist,
            specimen=self.signed,
            password=PASSWORD,
            seen_revision=case_of(Specimen.objects.get(pk=self.signed.pk)).revision,
        )
        self.delivery = Delivery.objects.get()
        start_second_read(actor=cast.pathologist, specimen=self.signed)
        now = timezone.now()
        DelivererHeartbeat.objects.create(worker="d1", started_at=now, seen_at=OLD)
        WorkerHeartbeat.objects.create(
            worker="w1", engine="onnx", model_digest="d", started_at=now, seen_at=OLD
        )
        self.archive = PacsServer.objects.create(
            site=cast.site, name="PACS", host="127.0.0.1", port=1, ae_title="PACS", active=False
        )
        self.order = OrderFactory.create(site=cast.site, expected_since=now)
        self.message = InboundMessage.objects.create(
            site=cast.site, raw=b"MSH|^~\\&|HIS", fingerprint="f", control_id="1", state="held",
            answer="AA", code="unknown_test", unknown_test="DIFF",
        )  # fmt: skip
        OrderedTest.objects.create(site=cast.site, code="CBC", meaning="not_ours")
        CodeMapping.objects.create(
            site=cast.site, quantity="panel", system="urn:own", code="DIFF", display="Differential"
        )
        self.unmatched = waiting_instance(cast.site)
        self.view = SavedView.objects.create(user=cast.technician, name="x", query="mine=1")

    @staticmethod
    def _reviewed(cast: Cast, cells: Cells) -> Specimen:
        case = cast.specimen(state=Specimen.State.PRECLASSIFIED)
        cell = cells.classified(case)
        decisions = [Decision(cell.pk, "neutrophil", 0)]
        review_cells(actor=cast.technician, specimen=case, decisions=decisions)
        case.refresh_from_db()
        return case

    def client(self, who: str) -> Client:
        """Return a new browser of one of the cast, who has logged in, or of nobody."""
        client = Client()
        if who in self._sessions:
            client.cookies[settings.SESSION_COOKIE_NAME] = self._sessions[who]
        return client

    def body(self, route: str) -> dict[str, Any]:
        """What a request must hold for its address to come as far as the guard of the role."""
        if route.startswith(("api/v1", "v2")):
            return {"content_type": "application/json", "data": {}}
        if route in ("fhir/Patient", "fhir/ServiceRequest"):
            return {"content_type": "application/fhir+json", "data": {}}
        if route.endswith("/_search"):
            return {"content_type": "application/x-www-form-urlencoded", "data": "_count=1"}
        page = route.rpartition("/")[2]
        if page == "images":
            return {"data": {"images": upload(7)}, "headers": {"Accept": "application/json"}}
        sent: dict[str, Any] = {
            "hotkeys": {},
            "comments": {"text": "Seen."},
            "reviews": {"decisions": [{"cell": self.cell.pk, "label": "blast", "revision": 1}]},
        }
        if page in sent:
            return {"content_type": "application/json", "data": json.dumps(sent[page])}
        return {}

    def path(self, route: str, model: Any = None) -> str:
        """Fill a route in with objects that exist."""
        pk = self.case.pk
        if "second-read" in route or route.endswith(("/amend", "/amendments")):
            pk = self.signed.pk
        for prefix, obj in (
            ("predictions/", self.cell.predictions.get()),
            ("reviews/", self.cell.reviews.get()),
            ("reports/", self.report),
            ("cells/", self.cell),
            ("views/", self.view),
            ("dicom/unmatched/", self.unmatched),
            ("deliveries/", self.delivery),
            ("destinations/", self.destination),
            ("dicom/network/archives/", self.archive),
            ("inbound/", self.message),
            ("orders/", self.order),
        ):
            if route.removeprefix("api/v1/").startswith(prefix):
                pk = obj.pk
        first = model._default_manager.order_by("pk").first() if model else None
        if route.startswith("fhir/"):
            route = route.replace("<str:ident>", self.fhir_id(route.split("/")[1]))
            route = route.replace("<str:version>", "1")
        text = route.replace("<int:pk>", str(pk)).replace("<str:identifier>", "no-such")
        text = text.replace("<int:number>", "1")
        text = text.replace("<str:name>", "dm-fnet").replace("<str:version>", "1.0")
        for name in ("study", "series", "instance"):
            text = text.replace(f"<str:{name}>", "1.2.3")
        text = text.replace("<path:object_id>", str(first.pk if first else 0))
        text = text.replace("<path:content_type_id>", "0").replace("<id>", "1")
        text = re.sub(r"\(\?P<app_label>[^)]*\)", "specimens", text).replace("^", "")
        return "/" + text.replace("(?P<url>.*)", "nothing").replace("$", "")

    def fhir_id(self, kind: str) -> str:
        """The id of a resource of the signed case."""
        ids = {
            "Patient": self.signed.order.patient_id,
            "ServiceRequest": self.signed.order_id,
            "Observation": f"{self.signed.pk}-percent-neutrophil",
            "Provenance": self.report.pk,
            "Device": "d" * 32,
            "Organization": self.signed.site_id,
            "Practitioner": self.report.signed_by_id,
            "Bundle": f"report-{self.signed.pk}",
            "Binary": f"report-{self.report.pk}",
        }
        return str(ids.get(kind, self.signed.pk))


def _model_of(route: str) -> Any:
    for model in administration._registry:
        if route.startswith(f"admin/{model._meta.app_label}/{model._meta.model_name}/"):
            return model
    return None


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any
) -> Iterator[World]:
    """One world for all rows, in a transaction that is taken back behind the last of them."""
    version = {"name": "dm-fnet", "version": "1.0", "digest": "d" * 64, "metadata": METADATA}
    images = tmp_path_factory.mktemp("world")
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with django_db_blocker.unblock(), transaction.atomic():
        with override_settings(MEDIA_ROOT=images, PASSWORD_HASHERS=hashers):
            model = ModelVersion.objects.create(**version, is_active=True)
            made = World(make_cast(), Cells(model))
        yield made
        transaction.set_rollback(True)


@pytest.mark.parametrize(("method", "route"), ROWS)
def test_the_status_of_an_address_for_each_of_the_cast(
    method: str, route: str, world: World, settings: Any
) -> None:
    settings.MEDIA_ROOT = world.images
    path = world.path(route, _model_of(route))
    if "<id>" in route:
        path = path.replace("/1/", f"/{world.cast.technician.pk}/")
    found = {}
    for who in WHO:
        with transaction.atomic():  # nobody finds what another has done
            more = world.body(route) if method in ("POST", "PATCH") else {}
            request = getattr(world.client(who), method.lower())
            found[who] = request(path, **more).status_code
            transaction.set_rollback(True)
    assert tuple(found.values()) == ROWS[method, route], found
