"""The review page and the calls behind it: who may, what is refused, what comes back."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from specimens.models import AuditEvent, CellImage, Comment, Review, Specimen, User
from specimens.services.review import Decision, review_cells
from tests.factories import Cast
from tests.portal.conftest import Cells
from tests.portal.reviewing import cells_of, decide, ids, post, preclassified_case

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    return preclassified_case(cast, cells)


@pytest.fixture
def client(cast: Cast, as_person: As) -> Client:
    return as_person(cast.technician)


def test_the_page_carries_what_the_bench_needs(client: Client, case: Specimen) -> None:
    response = client.get(reverse("review", args=[case.pk]))
    bench = response.context["bench"]
    assert (bench["target"], bench["wbc"], bench["blinded"]) == (100, "7.20", False)
    assert {c["key"]: c["hotkey"] for c in bench["classes"]}["monocyte"] == "m"
    limits = {(one["key"], one["quantity"]): one for one in bench["limits"]}
    assert limits["neutrophil", "percent"]["low"] == "40.00"
    assert AuditEvent.objects.filter(action="specimen.viewed", specimen=case).count() == 1


def test_only_who_may_sign_is_offered_to(cast: Cast, as_person: As, case: Specimen) -> None:
    for person, offered in ((cast.technician, False), (cast.pathologist, True)):
        content = as_person(person).get(reverse("review", args=[case.pk])).content.decode()
        assert ('id="sign"' in content) is offered


def test_the_cells_come_with_machine_and_people(client: Client, case: Specimen) -> None:
    answer = cells_of(client, case)
    assert [cell["proposed"] for cell in answer["cells"]] == [
        "neutrophil", "neutrophil", "lymphocyte", "unidentified",
    ]  # fmt: skip
    abstained = answer["cells"][3]
    assert (abstained["closest"], abstained["label"], abstained["revision"]) == ("monocyte", "", 0)
    assert abstained["why"].startswith("The model abstained")
    assert answer["editable"]


def test_decisions_are_stored_and_come_back(client: Client, cast: Cast, case: Specimen) -> None:
    first, second, *_ = ids(case)
    answer = decide(client, case, (first, "band_neutrophil", 0), (second, "neutrophil", 0))
    assert answer.status_code == 200
    stored = {cell["id"]: cell for cell in answer.json()["cells"]}
    assert (stored[first]["label"], stored[first]["revision"]) == ("band_neutrophil", 1)
    assert stored[first]["by"]["id"] == cast.technician.pk
    assert [one["label"] for one in stored[first]["history"]] == ["band_neutrophil"]
    case.refresh_from_db()
    assert case.state == Specimen.State.IN_REVIEW
    assert case.assigned_to == cast.technician


def test_taking_back_is_a_decision_too(client: Client, case: Specimen) -> None:
    first = ids(case)[0]
    decide(client, case, (first, "blast", 0))
    (cell,) = decide(client, case, (first, "", 1)).json()["cells"]
    assert (cell["label"], cell["revision"], len(cell["history"])) == ("", 2, 2)


def test_who_is_slower_gets_409_with_what_stands_there(
    cast: Cast, as_person: As, client: Client, case: Specimen
) -> None:
    first, second, *_ = ids(case)
    cast.pathologist.first_name, cast.pathologist.last_name = "Paula", "Thorne"
    cast.pathologist.save()
    decide(as_person(cast.pathologist), case, (first, "blast", 0))
    answer = decide(client, case, (first, "monocyte", 0), (second, "monocyte", 0))
    assert answer.status_code == 409
    assert answer.json()["code"] == "stale"
    (cell,) = answer.json()["cells"]
    assert (cell["id"], cell["label"], cell["revision"]) == (first, "blast", 1)
    assert (cell["by"]["name"], cell["by"]["initials"]) == ("Paula Thorne", "PT")
    assert not CellImage.objects.filter(label="monocyte").exists()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("not json", "not JSON"),
        ("[]", "decisions"),
        ({"decisions": []}, "decisions"),
        ({"decisions": ["x"]}, "Decision 1 is not an object"),
        ({"decisions": [{"cell": "1", "label": "blast", "revision": 0}]}, "“cell”"),
        ({"decisions": [{"cell": True, "label": "blast", "revision": 0}]}, "“cell”"),
        ({"decisions": [{"cell": 1, "label": 3, "revision": 0}]}, "“label”"),
        ({"decisions": [{"cell": 1, "label": "blast", "revision": -1}]}, "“revision”"),
        ({"decisions": [{"cell": 1, "label": "blast"}]}, "“revision”"),
        ({"decisions": [{"cell": 1, "label": "", "revision": 0}] * 2001}, "2000 is the most"),
    ],
)
def test_wrong_input_is_named(client: Client, case: Specimen, body: object, text: str) -> None:
    answer = post(client, "bench_reviews", case, body)
    assert answer.status_code == 400
    assert text in answer.json()["message"]
    assert not Review.objects.exists()


def test_unknown_cells_and_classes_are_refused(
    client: Client, cast: Cast, cells: Cells, case: Specimen
) -> None:
    stranger = cells.classified(cast.specimen(state=Specimen.State.PRECLASSIFIED))
    first = ids(case)[0]
    assert decide(client, case, (stranger.pk, "blast", 0)).status_code == 400
    assert decide(client, case, (first, "dragon", 0)).status_code == 400
    assert decide(client, case, (first, "blast", 0), (first, "blast", 0)).status_code == 400


@pytest.mark.parametrize("name", ["review", "bench_cells", "bench_reviews", "bench_comments"])
@pytest.mark.parametrize(
    ("person", "status"), [("administrator", 403), ("integration", 403), ("outsider", 404)]
)
def test_others_get_nothing(
    cast: Cast, as_person: As, case: Specimen, name: str, person: str, status: int
) -> None:
    client = as_person(getattr(cast, person))
    first = ids(case)[0]
    bodies = {
        "bench_reviews": {"decisions": [{"cell": first, "label": "blast", "revision": 0}]},
        "bench_comments": {"cell": first, "text": "x"},
    }
    if name in bodies:
        response = post(client, name, case, bodies[name])
        assert response["Content-Type"] == "application/json"
    else:
        response = client.get(reverse(name, args=[case.pk]))
    assert response.status_code == status
    assert not Review.objects.exists()
    assert not Comment.objects.exists()


def test_a_signed_case_is_not_changed(client: Client, case: Specimen) -> None:
    Specimen.objects.filter(pk=case.pk).update(state=Specimen.State.SIGNED_OUT)
    answer = decide(client, case, (ids(case)[0], "blast", 0))
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_now"
    assert not cells_of(client, case)["editable"]


def test_only_what_is_newer_is_sent_again(
    cast: Cast, as_person: As, client: Client, case: Specimen
) -> None:
    first, second, *_ = ids(case)
    known = cells_of(client, case)["since"]
    assert cells_of(client, case, known)["cells"] == []
    decide(as_person(cast.pathologist), case, (second, "monocyte", 0))
    answer = cells_of(client, case, known)
    assert [(cell["id"], cell["label"]) for cell in answer["cells"]] == [(second, "monocyte")]
    assert cells_of(client, case, answer["since"])["cells"] == []
    post(client, "bench_comments", case, {"cell": first, "text": "Look here."})
    (cell,) = cells_of(client, case, answer["since"])["cells"]
    assert (cell["id"], cell["comments"][0]["text"]) == (first, "Look here.")


@pytest.mark.parametrize("since", ["", "x", "1", "1.2.3", "-1.0", "9" * 30 + ".0"])
def test_since_is_checked(client: Client, case: Specimen, since: str) -> None:
    response = client.get(reverse("bench_cells", args=[case.pk]), {"since": since})
    assert response.status_code == 400


def test_new_images_change_the_stock(client: Client, cells: Cells, case: Specimen) -> None:
    before = cells_of(client, case)
    waiting = cells.image(case)
    after = cells_of(client, case, before["since"])
    assert after["stock"] != before["stock"]
    assert (after["unfinished"], len(cells_of(client, case)["cells"])) == (1, 4)
    assert waiting.pk not in {cell["id"] for cell in cells_of(client, case)["cells"]}


def test_failed_images_are_counted_and_not_shown(
    client: Client, cells: Cells, case: Specimen
) -> None:
    cells.failed(case)
    answer = cells_of(client, case)
    assert (answer["failed"], len(answer["cells"])) == (1, 4)


def test_the_number_of_queries_does_not_grow_with_the_cells(
    client: Client, cast: Cast, cells: Cells, case: Specimen
) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as counted:
            assert client.get(path).status_code == 200
        return len(counted)

    def decided(label: str) -> int:
        decisions = [
            (cell.pk, label, cell.revision) for cell in case.cell_images.order_by("pk")[:10]
        ]
        with CaptureQueriesContext(connection) as counted:
            assert decide(client, case, *decisions).status_code == 200
        return len(counted)

    page, listing = (reverse(name, args=[case.pk]) for name in ("review", "bench_cells"))
    for _ in range(6):
        cells.classified(case)
    decided("monocyte")  # opens the review, which the later ones need not
    few = (queries(page), queries(listing), queries(f"{listing}?since=0.0"), decided("blast"))
    images = CellImage.objects.bulk_create(
        CellImage(site=cast.site, specimen=case, file="x.png", sha256=f"m{n}", filename=f"{n}",
                  media_type="image/png", size=1, source="demo", label="neutrophil", revision=1,
                  labelled_by=cast.technician)
        for n in range(490)
    )  # fmt: skip
    Review.objects.bulk_create(
        Review(cell_image=image, reviewer=cast.technician, label="neutrophil", revision=1)
        for image in images
    )
    many = (queries(page), queries(listing), queries(f"{listing}?since=0.0"), decided("monocyte"))
    assert len(cells_of(client, case)["cells"]) == 500
    assert many == few


def test_reviews_need_the_token_of_the_form(cast: Cast, case: Specimen) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.technician)
    assert decide(strict, case, (ids(case)[0], "blast", 0)).status_code == 403
    assert not Review.objects.exists()


def test_a_cell_another_one_confirms_is_both_peoples(cast: Cast, case: Specimen) -> None:
    first = ids(case)[0]
    for person, revision in ((cast.technician, 0), (cast.pathologist, 1)):
        review_cells(
            actor=person, specimen=case, decisions=[Decision(first, "neutrophil", revision)]
        )
    assert Review.objects.filter(cell_image=first).count() == 2
