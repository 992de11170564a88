"""Two laboratories with one of everything; of the second one, nobody of the first may hear."""

import random
from collections.abc import Callable
from datetime import date
from typing import Any

from django.core.files.base import ContentFile

from classifier.models import ModelVersion
from specimens.models import (
    Delivery,
    Destination,
    Role,
    Site,
    Slide,
    Specimen,
    User,
)
from specimens.selectors.case import case_of
from specimens.services.accessioning import OrderData, PatientData, accession_specimen
from specimens.services.order_entry import place_order
from specimens.services.review import Decision, add_comment, review_cells
from specimens.services.signing import sign_out_report
from tests.factories import SiteFactory, UserFactory, picture
from tests.portal.conftest import Cells

SECRET = "Zwxqv"  # in every text of the second site, and nowhere else
PASSWORD = "correct horse"


class TwoSites:
    """The accounts' tokens, and ids of both sites for requests to aim at."""

    def __init__(self, tokens: dict[str, str], ids: dict[str, list[int]]) -> None:
        self.tokens = tokens
        self.ids = ids
        self.random = random.Random(1)

    def aim(self, case: Any) -> None:
        """Turn a drawn request towards what exists; some are left as they are."""
        if self.random.random() < 0.2:
            return
        self._aim_path(case)
        if case.headers and "If-Match" in case.headers and self.random.random() < 0.6:
            case.headers["If-Match"] = "*"
        if isinstance(case.body, dict):
            self._aim_body(case.body)
        if isinstance(case.query, dict):
            for name, noun in (("specimen", "specimens"), ("cell", "cells"), ("order", "orders")):
                if name in case.query and self.random.random() < 0.7:
                    case.query[name] = self.random.choice(self.ids[noun])

    def _aim_path(self, case: Any) -> None:
        given = case.path_parameters or {}
        if "id" in given:
            noun = case.operation.path.split("/")[3]
            given["id"] = self.random.choice(self.ids.get(noun, [1]))
        if "name" in given:
            given["name"] = "dmfnet"
        if "version" in given:
            given["version"] = "1.0.0"

    def _aim_body(self, body: dict[str, Any]) -> None:
        known: dict[str, list[Any]] = {
            "site": ["main", "main", ""],
            "password": [PASSWORD],
            "order": self.ids["orders"],
        }
        for name, values in known.items():
            if name in body and self.random.random() < 0.8:
                body[name] = self.random.choice(values)
        for decision in body.get("decisions") or []:
            if isinstance(decision, dict):
                decision["cell"] = self.random.choice(self.ids["cells"])


def two_sites(token_of: Callable[[User], str]) -> TwoSites:
    """Fill the database; a worker must have registered its model before."""
    cells = Cells(ModelVersion.objects.get(is_active=True))
    here = SiteFactory.create(code="main", name="Main laboratory", target_cells=2)
    there = SiteFactory.create(
        code=f"{SECRET.lower()}-site", name=f"{SECRET} laboratory", target_cells=2,
        report_header=f"{SECRET} street",
    )  # fmt: skip
    cast = {
        role: UserFactory.create(username=role, role=role, sites=[here])
        for role in ("technician", "pathologist", "administrator", "integration")
    }
    cast["nobody"] = UserFactory.create(username="nobody", role=Role.TECHNICIAN, sites=[])
    other = UserFactory.create(
        username=f"{SECRET}-doctor", last_name=SECRET, role=Role.PATHOLOGIST, sites=[there]
    )
    for site, signer, mark in ((here, cast["pathologist"], "Open"), (there, other, SECRET)):
        _laboratory(site, signer, mark, cells)
    ids = {
        noun: [pk for (pk,) in model.objects.order_by("pk").values_list("pk")]
        for noun, model in _nouns().items()
    }
    return TwoSites({name: token_of(user) for name, user in cast.items()}, ids)


def _nouns() -> dict[str, Any]:
    from specimens.models import CellImage, Order, Prediction, Report, Review

    return {
        "orders": Order,
        "specimens": Specimen,
        "cells": CellImage,
        "predictions": Prediction,
        "reviews": Review,
        "reports": Report,
        "deliveries": Delivery,
    }


def _laboratory(site: Site, signer: User, mark: str, cells: Cells) -> None:
    Destination.objects.create(
        site=site, name=f"{mark} system", kind="webhook", address=f"https://{mark}.example/x"
    )
    patient = PatientData(
        identifier=f"{mark}-1", family_name=f"{mark}-Muster", given_name="Erika",
        birth_date=date(1964, 8, 12), sex="F",
    )  # fmt: skip
    details = OrderData(
        requester=f"{mark} ward", clinical_information=f"{mark} fever", priority="stat"
    )
    place_order(actor=signer, site=site, patient=patient, order=details)
    for number in range(3):
        case = accession_specimen(
            actor=signer, site=site, accession_number=f"{mark}-{number}",
            patient=patient, order=OrderData(requester=f"{mark} ward"),
        )  # fmt: skip
        Slide.objects.create(specimen=case, label=f"{mark} slide")
        if number:
            _reviewed(case, signer, mark, cells)
        if number == 2:
            sign_out_report(
                actor=signer, specimen=case, password=PASSWORD,
                seen_revision=case_of(Specimen.objects.get(pk=case.pk)).revision,
            )  # fmt: skip


def _reviewed(case: Specimen, signer: User, mark: str, cells: Cells) -> None:
    Specimen.objects.filter(pk=case.pk).update(state=Specimen.State.PRECLASSIFIED)
    made = [cells.classified(case, name, filename=f"{mark}.png") for name in ("Neutrophil",) * 2]
    made.append(cells.failed(case, error=f"{mark} is damaged.", filename=f"{mark}.png"))
    for cell in made:
        cell.file.save("cell.png", ContentFile(picture(cell.pk)), save=True)
    decisions = [Decision(cell.pk, "neutrophil", 0) for cell in made]
    review_cells(actor=signer, specimen=case, decisions=decisions)
    add_comment(actor=signer, specimen=case, text=f"{mark} remark", on_report=True)
