"""Administration: accounts and sites, and what the machine wrote, read-only.

Patients, specimens and pictures are not here: whoever looks at those does it on the portal's pages,
which ask for the role and the site and record the look. Changes made here are recorded as well.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.views import redirect_to_login
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from classifier.models import ModelVersion
from specimens.models import AuditEvent, Job, Prediction, Site, User, WorkerHeartbeat
from specimens.permissions import Action, can, require, visible_to
from specimens.services import audit


class LaboratoryAdmin(admin.AdminSite):
    """Open to the administrator role, whatever Django's staff flag says."""

    site_header = site_title = "wbclab administration"
    index_title = "Accounts, models and audit"
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
        """Save, and record which fields changed (never their values: a password is among them)."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            actor = request.user
            audit.record(
                actor=actor if isinstance(actor, User) else None,
                action=f"{obj._meta.model_name}.{'changed' if change else 'added'}",
                subject=obj,
                details={"name": str(obj), "fields": sorted(form.changed_data)},
            )


class ReadOnly(AdministratorsOnly):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User, site=site)
class AccountAdmin(AdministratorsOnly, UserAdmin):  # type: ignore[type-arg]
    list_display = ["username", "display_name", "role", "is_active", "last_login"]
    list_filter = ["role", "sites", "is_active"]
    filter_horizontal = ["sites"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("What the account may do", {"fields": ["role", "sites", "is_active"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (
            None,
            {
                "classes": ["wide"],
                "fields": [
                    "username",
                    "usable_password",
                    "password1",
                    "password2",
                    "role",
                    "sites",
                ],
            },
        )
    ]
    readonly_fields = ["last_login", "date_joined"]


@admin.register(Site, site=site)
class SiteAdmin(AdministratorsOnly):
    list_display = ["code", "name"]


@admin.register(ModelVersion, site=site)
class ModelVersionAdmin(ReadOnly):
    list_display = ["name", "version", "is_active", "registered_at", "digest"]


@admin.register(Prediction, site=site)
class PredictionAdmin(ReadOnly):
    list_display = ["pk", "decision", "confidence", "model_version", "engine", "created_at"]
    list_filter = ["decision", "model_version", "engine"]
    list_select_related = ["model_version"]
    exclude = ["embedding", "explanation"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Prediction]":
        return visible_to(request.user, Prediction)


@admin.register(AuditEvent, site=site)
class AuditEventAdmin(ReadOnly):
    list_display = ["sequence", "at", "actor_name", "action", "object_type", "object_id"]
    list_filter = ["action"]
    search_fields = ["actor_name", "object_id"]
    ordering = ["-sequence"]
    show_full_result_count = False


@admin.register(Job, site=site)
class JobAdmin(ReadOnly):
    list_display = ["pk", "state", "priority", "attempts", "worker", "error_code", "finished_at"]
    list_filter = ["state", "priority", "error_code"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Job]":
        return visible_to(request.user, Job)


@admin.register(WorkerHeartbeat, site=site)
class WorkerHeartbeatAdmin(ReadOnly):
    list_display = ["worker", "engine", "started_at", "seen_at"]
