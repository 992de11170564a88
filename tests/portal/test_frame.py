"""The frame of every page: status line, theme, errors, and nothing inline."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from classifier.classes import PREDICTED_CLASSES, UNIDENTIFIED
from specimens.models import Specimen, User, WorkerHeartbeat
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
STYLES = (Path(__file__).parents[2] / "static/css/wbclab.css").read_text()


def test_a_quiet_laboratory_has_no_status_line(
    cast: Cast, as_person: As, worker: WorkerHeartbeat, cells: Cells
) -> None:
    cells.classified(cast.specimen())
    assert "attention-line" not in as_person(cast.technician).get("/").content.decode()


def test_a_silent_worker_is_said(cast: Cast, as_person: As, worker: WorkerHeartbeat) -> None:
    client = as_person(cast.technician)
    WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(seconds=16))
    assert "No worker has reported since" in client.get("/").content.decode()
    WorkerHeartbeat.objects.all().delete()
    assert "No worker has reported yet" in client.get("/").content.decode()


def test_failed_images_of_own_sites_are_counted(
    cast: Cast, as_person: As, worker: WorkerHeartbeat, cells: Cells
) -> None:
    specimen = cast.specimen()
    cells.failed(specimen)
    assert "1 image failed" in as_person(cast.technician).get("/").content.decode()
    assert (
        "failed" not in as_person(cast.outsider).get("/model/").content.decode().split("<main")[0]
    )
    Specimen.objects.update(state=Specimen.State.REJECTED)
    assert "1 image failed" not in as_person(cast.technician).get("/").content.decode()


def test_nobody_costs_no_query(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert client.get(reverse("login")).status_code == 200


@pytest.mark.parametrize(
    ("cookie", "attribute"),
    [("dark", ' data-theme="dark"'), ("light", ' data-theme="light"'), ("x", "")],
)
def test_the_theme_is_the_cookies(cookie: str, attribute: str, client: Client, db: None) -> None:
    client.cookies["theme"] = cookie
    content = client.get(reverse("login")).content.decode()
    assert f'<html lang="en"{attribute}>' in content


def test_logging_in_and_out(cast: Cast, client: Client) -> None:
    path = reverse("login")
    wrong = client.post(path, {"username": "technician", "password": "wrong"})
    assert "do not match" in wrong.content.decode()
    assert 'value="technician"' in wrong.content.decode()
    right = {"username": "technician", "password": "correct horse", "next": "/model/"}
    assert client.post(path, right)["Location"] == "/model/"
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout"))["Location"] == path
    assert client.get("/").status_code == 302


def test_a_foreign_address_is_not_followed_after_login(cast: Cast, client: Client) -> None:
    typed = {"username": "technician", "password": "correct horse", "next": "https://evil.example"}
    assert client.post(reverse("login"), typed)["Location"] == "/"


def test_the_password_can_be_changed(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    path = reverse("password_change")
    typed = {"old_password": "wrong", "new_password1": "short", "new_password2": "short"}
    content = client.post(path, typed).content.decode()
    assert "entered incorrectly" in content
    new = "a long and winding phrase"
    typed = {"old_password": "correct horse", "new_password1": new, "new_password2": new}
    assert "Password changed" in client.post(path, typed, follow=True).content.decode()


def test_errors_have_a_page(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    assert "This page does not exist" in client.get("/nothing").content.decode()
    assert "This page does not exist" in Client().get("/nothing").content.decode()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.technician)
    response = strict.post(reverse("accession"), {})
    assert response.status_code == 403
    assert "This form has expired" in response.content.decode()


def test_a_fault_of_ours_has_a_page(
    cast: Cast, as_person: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("specimens.views.quality.queue_depth", broken)
    client = as_person(cast.technician)
    client.raise_request_exception = False
    response = client.get(reverse("model"))
    assert response.status_code == 500
    assert "Nothing that was accepted is lost." in response.content.decode()
    assert "on purpose" not in response.content.decode()


def _pages(cast: Cast, cells: Cells) -> list[str]:
    specimen = cast.specimen(wbc_count="7.2")
    image = cells.classified(specimen)
    cells.failed(specimen)
    cells.image(specimen)
    paths = [reverse(name) for name in ("worklist", "specimen_list", "accession", "model")]
    paths += [reverse("specimen", args=[specimen.pk]), reverse("cell", args=[image.pk])]
    return [*paths, reverse("password_change"), "/nothing"]


def test_no_page_needs_anything_the_policy_forbids(cast: Cast, as_person: As, cells: Cells) -> None:
    client = as_person(cast.technician)
    for path in _pages(cast, cells):
        response = client.get(path)
        content = response.content.decode()
        assert not re.search(r"\sstyle\s*=", content), path
        assert not re.search(r"\son\w+\s*=", content), path
        assert not re.search(r"<style|javascript:", content), path
        assert not re.search(r"<script(?![^>]*\bsrc=)", content), path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', content), path
        policy = response["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'self'" in policy


def test_ids_are_unique_on_every_page(cast: Cast, as_person: As, cells: Cells) -> None:
    client = as_person(cast.technician)
    for path in _pages(cast, cells):
        ids = re.findall(r'\sid="([^"]+)"', client.get(path).content.decode())
        assert len(ids) == len(set(ids)), path


def test_the_style_sheet_has_the_colours_of_the_classes() -> None:
    for cell_class in (*PREDICTED_CLASSES, UNIDENTIFIED):
        rule = f".class-{cell_class.key} {{ --class: {cell_class.colour}; }}"
        assert rule in STYLES


def test_both_dark_themes_are_the_same() -> None:
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', STYLES, re.S)
    systems = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', STYLES, re.S)
    assert chosen and systems
    assert chosen[1].split() == systems[1].split()


def test_the_quality_page(cast: Cast, as_person: As, cells: Cells, worker: Any) -> None:
    cells.image(cast.specimen())
    content = as_person(cast.pathologist).get(reverse("model")).content.decode()
    for text in (
        "dm-fnet",
        "d" * 64,
        "99.32\u202f% (98.6–99.7)",
        "0.991",
        "80.0\u202f%",
        "7,186 images, doi 10.1/x",
        "Trained on one laboratory.",
        "onnxruntime",
    ):
        assert text in content


def test_the_quality_page_before_any_model(cast: Cast, as_person: As) -> None:
    content = as_person(cast.pathologist).get(reverse("model")).content.decode()
    assert "No model is in use yet." in content
    assert "No worker was seen within a day." in content
