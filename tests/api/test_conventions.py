"""The rules all resources of REST v1 keep: problems, tags, preconditions, cursors, repeats."""

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from specimens.api.problems import MEDIA_TYPE as PROBLEM
from specimens.models import AuditEvent, CellImage, IdempotencyKey, Order, Patient, Specimen
from specimens.services import idempotency
from tests.api.client import Api, body_of, token_of
from tests.factories import Cast, make_cast, picture

pytestmark = [pytest.mark.core, pytest.mark.django_db]

JSON = {"content_type": "application/json"}
ORDER = {"patient": {"identifier": "P-1", "family_name": "Muster"}, "requester": "Ward 3"}


def _key(key: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}, **JSON}


class TestProblems:
    def test_members(self, api: Api) -> None:
        answer = api.get("/api/v1/orders/999")
        assert answer["Content-Type"] == PROBLEM
        body = body_of(answer)
        assert body == {
            "type": "urn:wbclab:problem:not_found",
            "title": "Not Found",
            "status": 404,
            "detail": body["detail"],
            "code": "not_found",
        }

    def test_outside_of_any_view_too(self, api: Api) -> None:
        for path in ("/api/v1/", "/api/v1/nothing", "/api/v1/orders/x"):
            answer = api.get(path)
            assert (answer.status_code, answer["Content-Type"]) == (404, PROBLEM)
        answer = api.get("/api/v1/orders", headers={"Host": "evil.example"})
        assert (answer.status_code, answer["Content-Type"]) == (400, PROBLEM)
        assert api.get("/api/nothing")["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("body", "media_type", "status", "code"),
        [
            (b"{", "application/json", 400, "malformed_request"),
            (b"[1]", "application/json", 400, "invalid"),
            (b"[" * 100_000, "application/json", 400, "malformed_request"),
            (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_content_type"),
            (b'{"\\ud800": 1}', "application/json", 400, "invalid"),
            (b'{"patient": {"identifier": "\\u0000"}}', "application/json", 400, "invalid"),
        ],
    )
    def test_bodies_that_are_none(
        self, api: Api, body: bytes, media_type: str, status: int, code: str
    ) -> None:
        answer = api.post("/api/v1/orders", body, content_type=media_type)
        assert (answer.status_code, body_of(answer)["code"]) == (status, code)

    def test_another_method_says_which_there_are(self, api: Api) -> None:
        answer = api.request("DELETE", "/api/v1/orders")
        assert (answer.status_code, answer["Content-Type"]) == (405, PROBLEM)
        assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"

    def test_the_predict_calls_keep_their_shape(self, api: Api) -> None:
        body = body_of(api.post("/api/predict"))
        assert (body["success"], body["code"]) == (False, "no_file")


class TestTags:
    def test_who_has_it_gets_nothing(self, api: Api, cast: Cast) -> None:
        specimen = cast.specimen()
        for path in (f"/api/v1/specimens/{specimen.pk}", "/api/v1/specimens"):
            tag = api.get(path)["ETag"]
            for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                again = api.get(path, headers={"If-None-Match": header})
                assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
            Specimen.objects.update(wbc_count=3)
            assert api.get(path, headers={"If-None-Match": tag}).status_code == 200
            Specimen.objects.update(wbc_count=None)

    def test_a_write_must_name_what_it_has_seen(self, api: Api, cast: Cast) -> None:
        specimen = cast.specimen()
        path, change = f"/api/v1/specimens/{specimen.pk}", {"wbc_count": "5.00"}
        answer = api.request("PATCH", path, data=change, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (428, "if_match_required")
        tag = api.get(path)["ETag"]
        first = api.request("PATCH", path, data=change, headers={"If-Match": tag}, **JSON)
        assert (first.status_code, first["ETag"]) == (200, api.get(path)["ETag"])
        change = {"wbc_count": "6.00"}
        second = api.request("PATCH", path, data=change, headers={"If-Match": tag}, **JSON)
        assert (second.status_code, body_of(second)["code"]) == (412, "stale")
        weak = {"If-Match": f"W/{first['ETag']}"}  # never matches: RFC 9110, 13.1.1
        assert api.request("PATCH", path, data=change, headers=weak, **JSON).status_code == 412
        specimen.refresh_from_db()
        assert specimen.wbc_count == 5


class TestCursors:
    @pytest.fixture
    def ids(self, cast: Cast) -> list[int]:
        """Five specimens, the newest first."""
        return [cast.specimen().pk for _ in range(5)][::-1]

    def _pages(self, api: Api, address: str, way: str = "next") -> list[list[int]]:
        pages = []
        while address:
            body = body_of(api.get(address))
            pages.append([one["id"] for one in body["results"]])
            address = body[way]
        return pages

    def test_forth_and_back(self, api: Api, ids: list[int]) -> None:
        assert self._pages(api, "/api/v1/specimens?limit=2") == [ids[:2], ids[2:4], ids[4:]]
        last = body_of(api.get("/api/v1/specimens?limit=4"))["next"]
        back = self._pages(api, last.replace("limit=4", "limit=2"), "previous")
        assert back == [ids[4:], ids[2:4], ids[:2]]

    def test_links(self, api: Api, ids: list[int]) -> None:
        first = api.get("/api/v1/specimens?limit=2")
        body = body_of(first)
        assert first["Link"] == f'<{body["next"]}>; rel="next"'
        second = api.get(body["next"])
        assert second["Link"].count("rel=") == 2
        assert 'rel="prev"' in second["Link"]
        assert "Link" not in api.get("/api/v1/specimens")

    def test_what_comes_in_meanwhile_moves_nothing(
        self, api: Api, cast: Cast, ids: list[int]
    ) -> None:
        following = body_of(api.get("/api/v1/specimens?limit=2"))["next"]
        new = cast.specimen().pk
        body = body_of(api.get(following))
        assert [one["id"] for one in body["results"]] == ids[2:4]
        newer = self._pages(api, body["previous"], "previous")
        assert [pk for page in newer for pk in page] == [*ids[:2], new]

    @pytest.mark.parametrize(
        "query", ["cursor=x", "cursor=b2xkZXIteA==", "cursor=%C3%A4", "limit=0", "limit=201"]
    )
    def test_what_is_no_cursor(self, api: Api, query: str) -> None:
        answer = api.get(f"/api/v1/specimens?{query}")
        name = query.partition("=")[0]
        assert (answer.status_code, list(body_of(answer)["fields"])) == (400, [name])

    def test_filters_stay(self, api: Api, ids: list[int]) -> None:
        following = body_of(api.get("/api/v1/specimens?limit=2&state=accessioned"))["next"]
        assert "state=accessioned" in following


class TestRepeats:
    def test_the_same_again_gets_the_same_answer(self, api: Api) -> None:
        first = api.post("/api/v1/orders", ORDER, **_key("a"))
        again = api.post("/api/v1/orders", ORDER, **_key("a"))
        assert (again.status_code, body_of(again)) == (201, body_of(first))
        assert (again["Location"], again["ETag"]) == (first["Location"], first["ETag"])
        assert again["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first
        assert Order.objects.count() == 1

    def test_without_a_key_it_is_done_again(self, api: Api) -> None:
        for _ in range(2):
            assert api.post("/api/v1/orders", ORDER, **JSON).status_code == 201
        assert Order.objects.count() == 2

    def test_another_body_or_address_under_the_key(self, api: Api) -> None:
        api.post("/api/v1/orders", ORDER, **_key("a"))
        for path, body in (
            ("/api/v1/orders", ORDER | {"requester": "Ward 4"}),
            ("/api/v1/specimens", ORDER),
        ):
            answer = api.post(path, body, **_key("a"))
            assert (answer.status_code, body_of(answer)["code"]) == (422, "idempotency_key_reused")

    def test_keys_are_each_accounts_own(self, api: Api, cast: Cast) -> None:
        api.post("/api/v1/orders", ORDER, **_key("a"))
        for user in (cast.technician, cast.outsider):
            assert Api(token_of(user)).post("/api/v1/orders", ORDER, **_key("a")).status_code == 201
        assert Order.objects.count() == 3

    def test_after_a_change_of_sites_nothing_is_told_again(self, api: Api, cast: Cast) -> None:
        api.post("/api/v1/orders", ORDER, **_key("a"))
        cast.integration.sites.set([cast.other_site])
        moved = Api(token_of(cast.integration))
        assert moved.post("/api/v1/orders", ORDER, **_key("a")).status_code == 422

    def test_a_refused_one_may_be_corrected_under_its_key(self, api: Api) -> None:
        wrong = api.post("/api/v1/orders", ORDER | {"priority": "x"}, **_key("a"))
        assert wrong.status_code == 400
        assert api.post("/api/v1/orders", ORDER, **_key("a")).status_code == 201

    def test_after_its_time_a_key_is_free(self, api: Api) -> None:
        api.post("/api/v1/orders", ORDER, **_key("a"))
        IdempotencyKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert api.post("/api/v1/orders", ORDER, **_key("a")).status_code == 201
        assert Order.objects.count() == 2
        assert IdempotencyKey.objects.count() == 1

    def test_files_count_by_their_content(self, api: Api, cast: Cast) -> None:
        path = f"/api/v1/specimens/{cast.specimen().pk}/cells"

        def send(colour: int) -> Any:
            form = {"images": [SimpleUploadedFile("a.png", picture(colour))]}
            return api.post(path, form, headers={"Idempotency-Key": "a"})

        first, again, other = send(1), send(1), send(2)
        assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
        assert body_of(again) == body_of(first)
        assert CellImage.objects.count() == 1

    @pytest.mark.parametrize("key", ["", "x" * 201, "ä", "a\tb"])
    def test_what_is_no_key(self, api: Api, key: str) -> None:
        answer = api.post("/api/v1/orders", ORDER, **_key(key))
        assert (answer.status_code, list(body_of(answer)["fields"])) == (400, ["Idempotency-Key"])

    def test_while_the_first_is_worked_on(self, api: Api, cast: Cast) -> None:
        first = idempotency.begin(actor=cast.integration, key="a", request_digest="d")
        with pytest.raises(idempotency.StillRunning):
            idempotency.begin(actor=cast.integration, key="a", request_digest="d")
        # Its process died: another takes over, and what the first might still write is refused.
        IdempotencyKey.objects.update(started_at=timezone.now() - 2 * idempotency.PATIENCE)
        idempotency.begin(actor=cast.integration, key="a", request_digest="d")
        assert isinstance(first, uuid.UUID)
        with pytest.raises(idempotency.StillRunning):
            idempotency.finish(attempt=first, status=201, headers={}, body={})

    def test_answer_and_act_stand_or_fall_together(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def dies(**_: Any) -> None:
            raise OSError("the process dies here")

        with monkeypatch.context() as patched:
            patched.setattr(idempotency, "finish", dies)
            assert api.post("/api/v1/orders", ORDER, **_key("a")).status_code == 500
        assert not Order.objects.exists()
        assert not Patient.objects.exists()
        assert not AuditEvent.objects.filter(action="order.placed").exists()
        assert api.post("/api/v1/orders", ORDER, **_key("a")).status_code == 201


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_who_comes_again_after_a_crash_need_not_wait() -> None:
    """The transaction of the work has ended, and nobody could give the key back."""
    actor = make_cast().integration
    first = idempotency.begin(actor=actor, key="a", request_digest="d")
    assert isinstance(first, uuid.UUID)
    IdempotencyKey.objects.update(started_at=timezone.now() - timedelta(seconds=2))
    second = _begin_beside(actor, held=first)
    assert isinstance(second, idempotency.StillRunning), "while it works, others wait"
    assert isinstance(_begin_beside(actor, held=None), uuid.UUID), "when it is dead, they need not"


def _begin_beside(actor: Any, *, held: uuid.UUID | None) -> Any:
    """Begin on a connection of its own, while this one holds a key."""
    found: list[Any] = []

    def begin() -> None:
        try:
            found.append(idempotency.begin(actor=actor, key="a", request_digest="d"))
        except idempotency.StillRunning as running:
            found.append(running)
        finally:
            connection.close()

    with transaction.atomic():
        if held:
            idempotency.hold(attempt=held)
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join(20)
    return found[0]


# SQLite has one writer; its processes wait for each other.
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_is_done() -> None:
    token = token_of(make_cast().integration)
    start, found = threading.Barrier(8), []

    def send() -> None:
        try:
            start.wait(10)
            found.append(Api(token).post("/api/v1/orders", ORDER, **_key("a")).status_code)
        finally:
            close_old_connections()
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert set(found) <= {201, 409}
    assert 201 in found
    assert Order.objects.count() == 1
