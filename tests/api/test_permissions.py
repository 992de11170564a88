"""Who may call what: no token, a wrong one, an expired one, each role, no site, another site."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.signing import Signer
from knox.models import AuthToken

from specimens.models import CellImage, Job, Site
from specimens.services.imaging import add_cell_images
from tests.api.client import Api, body_of, token_of
from tests.factories import Cast, picture, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db, pytest.mark.usefixtures("unwatched")]

PROTECTED = (
    ("POST", "/api/predict"),
    ("POST", "/api/predict_batch"),
    ("GET", "/api/predictions/1"),
    ("GET", "/api/model_info"),
)
ROLES = ("technician", "pathologist", "administrator", "integration")


@pytest.mark.parametrize(("method", "path"), PROTECTED)
class TestWithoutAccount:
    """401 in JSON, with the challenge, never the login page."""

    def test_no_token(self, db: None, method: str, path: str) -> None:
        self._refused(Api(), method, path, "not_authenticated")

    def test_a_wrong_token(self, db: None, method: str, path: str) -> None:
        self._refused(Api("0" * 64), method, path, "authentication_failed")

    def test_a_token_of_no_letters(self, db: None, method: str, path: str) -> None:
        self._refused(Api("é\xff"), method, path, "authentication_failed")

    def test_a_token_with_spaces(self, db: None, method: str, path: str) -> None:
        self._refused(Api("two words"), method, path, "authentication_failed")

    def test_an_empty_token(self, db: None, method: str, path: str) -> None:
        api = Api()
        api.http.defaults["HTTP_AUTHORIZATION"] = "Token "
        self._refused(api, method, path, "authentication_failed")

    def test_an_expired_token(self, cast: Cast, method: str, path: str) -> None:
        token = token_of(cast.integration, expiry=timedelta(seconds=-1))
        self._refused(Api(token), method, path, "authentication_failed")

    def test_a_revoked_token(self, cast: Cast, method: str, path: str) -> None:
        token = token_of(cast.integration)
        AuthToken.objects.filter(user=cast.integration).delete()
        self._refused(Api(token), method, path, "authentication_failed")

    def test_an_account_that_left(self, cast: Cast, method: str, path: str) -> None:
        token = token_of(cast.integration)
        cast.integration.is_active = False
        cast.integration.save()
        self._refused(Api(token), method, path, "authentication_failed")

    def test_another_scheme(self, db: None, method: str, path: str) -> None:
        api = Api()
        api.http.defaults["HTTP_AUTHORIZATION"] = "Basic dXNlcjpwYXNz"
        self._refused(api, method, path, "not_authenticated")

    def _refused(self, api: Api, method: str, path: str, code: str) -> None:
        response = api.request(method, path)
        assert (response.status_code, body_of(response)["code"]) == (401, code)
        assert response["WWW-Authenticate"] == "Token"
        assert not CellImage.objects.exists()


@pytest.mark.parametrize("role", ROLES)
class TestEachRole:
    """Whoever has an active account may predict, and ask for the model."""

    def test_predict(self, cast: Cast, role: str) -> None:
        user = getattr(cast, role)
        assert Api(token_of(user)).predict(picture()).status_code == 202
        assert CellImage.objects.get().received_from == user

    def test_predict_batch(self, cast: Cast, role: str) -> None:
        assert Api(token_of(getattr(cast, role))).predict_batch(picture()).status_code == 202

    def test_own_status(self, cast: Cast, role: str) -> None:
        api = Api(token_of(getattr(cast, role)))
        sent = body_of(api.predict(picture()))
        assert api.get(f"/api/predictions/{sent['id']}").status_code == 202

    def test_a_status_of_the_same_site(self, cast: Cast, role: str) -> None:
        sent = body_of(Api(token_of(cast.second_pathologist)).predict(picture()))
        response = Api(token_of(getattr(cast, role))).get(f"/api/predictions/{sent['id']}")
        assert response.status_code == 202

    def test_a_status_of_another_site(self, cast: Cast, role: str) -> None:
        sent = body_of(Api(token_of(cast.outsider)).predict(picture()))
        response = Api(token_of(getattr(cast, role))).get(f"/api/predictions/{sent['id']}")
        assert (response.status_code, body_of(response)["code"]) == (404, "not_found")

    def test_model_info(self, cast: Cast, role: str) -> None:
        response = Api(token_of(getattr(cast, role))).get("/api/model_info")
        assert (response.status_code, body_of(response)["code"]) == (503, "no_model")


@pytest.mark.parametrize(
    "identifier",
    ["0", "999999", "9" * 30, "9" * 5000, "-1", "1.5", "x", "1.forged", "%00", "..", "\u0661"],
)
def test_identifiers_of_nothing(api: Api, identifier: str) -> None:
    response = api.get(f"/api/predictions/{identifier}")
    assert (response.status_code, body_of(response)["code"]) == (404, "not_found")


def test_the_images_of_a_specimen_are_not_told_here(api: Api, cast: Cast) -> None:
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=[upload()]
    )
    number = CellImage.objects.get().pk
    assert api.get(f"/api/predictions/{number}").status_code == 404
    assert api.get(f"/api/predictions/{Signer(salt='x').sign(str(number))}").status_code == 404


def test_an_account_without_a_site(cast: Cast) -> None:
    cast.integration.sites.clear()
    api = Api(token_of(cast.integration))
    response = api.predict(picture())
    assert (response.status_code, body_of(response)["code"]) == (403, "no_site")
    assert "no site" in body_of(response)["error"]
    assert not CellImage.objects.exists()


def test_the_image_belongs_to_the_first_site_of_the_caller(cast: Cast) -> None:
    cast.integration.sites.add(Site.objects.create(code="aaa", name="First by code"))
    Api(token_of(cast.integration)).predict(picture())
    assert CellImage.objects.get().site.code == "aaa"


class TestSession:
    """The portal's own session works too, and is held to CSRF."""

    def test_with_the_csrf_token(self, cast: Cast) -> None:
        api = Api()
        api.http.force_login(cast.technician)
        assert api.predict(picture()).status_code == 202

    def test_without_the_csrf_token(self, cast: Cast) -> None:
        api = Api()
        api.http.force_login(cast.technician)
        api.http.handler.enforce_csrf_checks = True
        response = api.predict(picture())
        assert (response.status_code, body_of(response)["code"]) == (403, "permission_denied")
        assert "CSRF" in body_of(response)["error"]
        assert not CellImage.objects.exists()

    def test_a_broken_form_is_a_broken_form(self, cast: Cast) -> None:
        api = Api()
        api.http.force_login(cast.technician)
        api.http.handler.enforce_csrf_checks = True
        response = api.post("/api/predict", b"x", content_type="multipart/form-data")
        assert response.status_code in (400, 403)


class TestPublicMode:
    """WBCLAB_PUBLIC_PREDICT opens the predict calls and the signed status, nothing else."""

    @pytest.fixture(autouse=True)
    def _open(self, settings: Any) -> None:
        settings.PUBLIC_PREDICT = True

    def test_predict(self, db: None) -> None:
        response = Api().predict(picture())
        image = CellImage.objects.get()
        assert response.status_code == 202
        assert (image.site.code, image.received_from) == ("public", None)

    def test_predict_batch(self, db: None) -> None:
        assert Api().predict_batch(picture(1), picture(2)).status_code == 202

    def test_the_status_is_reached_by_its_signed_address_only(self, db: None) -> None:
        sent = body_of(Api().predict(picture()))
        number = CellImage.objects.get().pk
        assert sent["id"] != str(number)
        assert Api().get(f"/api/predictions/{sent['id']}").status_code == 202
        for guess in (str(number), f"{number}.", sent["id"][:-1], f"{number + 1}{sent['id'][1:]}"):
            assert Api().get(f"/api/predictions/{guess}").status_code == 404

    def test_a_signed_address_does_not_open_what_belongs_to_a_site(self, cast: Cast) -> None:
        sent = body_of(Api(token_of(cast.technician)).predict(picture()))
        signed = Signer(salt="specimens.predictions", sep=".").sign(sent["id"])
        assert Api().get(f"/api/predictions/{signed}").status_code == 404
        assert Api().get(f"/api/predictions/{sent['id']}").status_code == 404

    def test_an_account_keeps_its_site(self, cast: Cast) -> None:
        Api(token_of(cast.technician)).predict(picture())
        assert CellImage.objects.get().site == cast.site

    def test_a_wrong_token_is_still_wrong(self, db: None) -> None:
        assert Api("0" * 64).predict(picture()).status_code == 401

    def test_the_model_stays_protected(self, db: None) -> None:
        assert Api().get("/api/model_info").status_code == 401

    def test_closed_again_nothing_is_reached(self, db: None, settings: Any) -> None:
        sent = body_of(Api().predict(picture()))
        settings.PUBLIC_PREDICT = False
        assert Api().get(f"/api/predictions/{sent['id']}").status_code == 401
        assert Job.objects.count() == 1
