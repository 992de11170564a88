"""The administration site and what its pages have in common: who may, and that it is recorded.

Patients, specimens and pictures are not here: whoever looks at those does it on the portal's pages,
which ask for the role and the site and record the look. Changes made here are recorded as well.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from specimens.models import Site, User
from specimens.permissions import Action, can, require, visible_to
from specimens.services import audit


class LaboratoryAdmin(admin.AdminSite):
    """Open to the administrator role, whatever Django's staff flag says."""

    site_header = site_title = "wbclab administration"
    index_title = "Accounts, sites, rules and records"
    site_url = "/"

    def has_permission(self, request: HttpRequest) -> bool:
        return can(request.user, Action.ADMINISTER)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the one login page; who is logged in already may not come in here."""
        if request.user.is_authenticated:
            require(request.user, Action.ADMINISTER)
        return redirect_to_login(reverse("admin:index"))

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the one page for it, where wrong passwords are counted."""
        return redirect("password_change")


site = LaboratoryAdmin(name="admin")


class AdministratorsOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Django's model permissions do not count here, the role does. Nothing is ever deleted."""

    def _may(self, request: HttpRequest) -> bool:
        return can(request.user, Action.ADMINISTER)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._may(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: models.Model, form: "ModelForm[Any]", change: bool
    ) -> None:
        """Save, and record what changed from what to what; of a password, only that it did."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            record_change(request, obj, "changed" if change else "added", form)


class Removable(AdministratorsOnly):
    """Configuration that is no record of anything: it may go, and its removal is recorded."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        """Record, then remove: afterwards the row has no id to be named by."""
        with transaction.atomic():
            record_change(request, obj, "removed")
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: "models.QuerySet[Any]") -> None:
        """Remove one by one, so that each is recorded."""
        with transaction.atomic():
            for obj in queryset:
                self.delete_model(request, obj)


class ReadOnly(AdministratorsOnly):
    """What the machine or the portal wrote: to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OfOwnSites(AdministratorsOnly):
    """Rows that belong to a site: those of the administrator's own, to see and to choose from."""

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Any]":
        return visible_to(request.user, self.model)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "site":
            kwargs["queryset"] = visible_to(request.user, Site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def record_change(
    request: HttpRequest, obj: models.Model, what: str, form: "ModelForm[Any] | None" = None
) -> None:
    """Record what somebody did to a row here, with what each changed field was and is now."""
    actor = request.user if isinstance(request.user, User) else None
    details: dict[str, Any] = {"name": str(obj)}
    if form is not None:
        details["fields"] = sorted(form.changed_data)
        details["changes"] = {
            name: [_plain(form.initial.get(name)), _plain(form.cleaned_data.get(name))]
            for name in sorted(form.changed_data)
            if "password" not in name
        }
    audit.record(
        actor=actor,
        action=f"{obj._meta.model_name}.{what}",
        subject=obj,
        site=_site_of(obj, actor),
        details=details,
    )


def _plain(value: Any) -> Any:
    """A value of a form as JSON: objects by name, several of them as a list."""
    if value is None or isinstance(value, bool | int | str | dict):
        return value
    if isinstance(value, list | tuple | models.QuerySet):
        return sorted(str(one) for one in value)
    return str(value)


def _site_of(obj: models.Model, actor: User | None) -> Site | None:
    """The site a change belongs to; what holds for all stands in the trail of the actor's own."""
    if isinstance(obj, Site):
        return obj
    own = getattr(obj, "site", None)
    if isinstance(own, Site):
        return own
    return visible_to(actor, Site).first() if actor else None
