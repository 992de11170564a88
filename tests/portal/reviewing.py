"""A case to review and the calls that review it, for the tests of the page and of the API."""

import json
from typing import Any

from django.test import Client
from django.urls import reverse

from specimens.models import Specimen
from tests.factories import Cast
from tests.portal.conftest import Cells


def preclassified_case(cast: Cast, cells: Cells) -> Specimen:
    """A preclassified case: two neutrophils, a lymphocyte, and a cell the model abstained on."""
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED, wbc_count="7.20")
    cells.classified(specimen, "Neutrophil", 0.97)
    cells.classified(specimen, "Neutrophil", 0.88)
    cells.classified(specimen, "Lymphocyte", 0.93)
    cells.classified(specimen, "Monocyte", 0.55, reasons=("low_confidence",))
    return specimen


def post(client: Client, name: str, case: Specimen, body: object) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(reverse(name, args=[case.pk]), text, content_type="application/json")


def decide(client: Client, case: Specimen, *decisions: tuple[int, str, int]) -> Any:
    names = ("cell", "label", "revision")
    body = {"decisions": [dict(zip(names, one, strict=True)) for one in decisions]}
    return post(client, "bench_reviews", case, body)


def cells_of(client: Client, case: Specimen, since: str | None = None) -> dict[str, Any]:
    query = {"since": since} if since is not None else {}
    answer: dict[str, Any] = client.get(reverse("bench_cells", args=[case.pk]), query).json()
    return answer


def ids(case: Specimen) -> list[int]:
    return list(case.cell_images.order_by("pk").values_list("pk", flat=True))
