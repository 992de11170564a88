"""Administration: accounts, sites, reference ranges, queue rules; what is on record, read-only.

Patients, specimens and pictures are not here: whoever looks at those does it on the portal's pages,
which ask for the role and the site and record the look. Changes made here are recorded as well.
"""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.views import redirect_to_login
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from classifier.models import ModelVersion
from specimens.admin_forms import AccountForm, QueueRuleForm, ReferenceRangeForm, SiteForm
from specimens.models import (
    AuditEvent,
    CodeMapping,
    DelivererHeartbeat,
    Delivery,
    Destination,
    Job,
    OrderedTest,
    PacsServer,
    Prediction,
    QueueRule,
    ReferenceRange,
    Report,
    Review,
    Site,
    User,
    WorkerHeartbeat,
)
from specimens.permissions import Action, can, require, visible_to
from specimens.services import audit
from specimens.services.guessing import unlock
from specimens.services.second_factor import remove_second_factor
from specimens.services.tokens import revoke_tokens


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
            _record(request, obj, "changed" if change else "added", form)


class Removable(AdministratorsOnly):
    """Configuration that is no record of anything: it may go, and its removal is recorded."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        """Record, then remove: afterwards the row has no id to be named by."""
        with transaction.atomic():
            _record(request, obj, "removed")
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: "models.QuerySet[Any]") -> None:
        """Remove one by one, so that each is recorded."""
        with transaction.atomic():
            for obj in queryset:
                self.delete_model(request, obj)


def _record(
    request: HttpRequest, obj: models.Model, what: str, form: "ModelForm[Any] | None" = None
) -> None:
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


class ReadOnly(AdministratorsOnly):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User, site=site)
class AccountAdmin(AdministratorsOnly, UserAdmin):  # type: ignore[type-arg]
    form = AccountForm
    list_display = ["username", "display_name", "role", "is_active", "last_login"]
    list_filter = ["role", "sites", "is_active"]
    filter_horizontal = ["sites"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("What the account may do", {"fields": ["role", "sites", "is_active"]}),
        ("Review page", {"fields": ["hotkeys"]}),
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
    actions = ["unlock", "remove_second_factor"]

    @admin.action(description="Unlock: forget wrong passwords and codes")
    def unlock(self, request: HttpRequest, queryset: "models.QuerySet[User]") -> None:
        """Let accounts try again at once."""
        actor = request.user if isinstance(request.user, User) else None
        for user in queryset:
            unlock(actor=actor, user=user)
        messages.success(request, f"Unlocked: {', '.join(map(str, queryset))}.")

    @admin.action(description="Remove the second factor (the phone is lost)")
    def remove_second_factor(self, request: HttpRequest, queryset: "models.QuerySet[User]") -> None:
        """Take app and recovery codes away; the person sets up new ones at the next login."""
        actor = request.user if isinstance(request.user, User) else None
        for user in queryset:
            if remove_second_factor(actor=actor, user=user):
                messages.success(request, f"{user} has no second factor any more.")
            else:
                messages.info(request, f"{user} had no second factor.")

    def save_related(
        self, request: HttpRequest, form: "ModelForm[Any]", formsets: Any, change: bool
    ) -> None:
        """With role, sites and activity stored, end the tokens that no longer fit them."""
        super().save_related(request, form, formsets, change)
        actor = request.user if isinstance(request.user, User) else None
        revoke_tokens(actor=actor, user=form.instance)

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Let Django set the password of somebody else, and record that it was set."""
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            changed = User.objects.filter(pk=id).first()
            if request.method == "POST" and answer.status_code == 302 and changed:
                _record(request, changed, "password_changed")
        return answer


@admin.register(Site, site=site)
class SiteAdmin(AdministratorsOnly):
    form = SiteForm
    list_display = ["code", "name", "target_cells", "four_eyes", "quality_lock"]
    fieldsets = [
        (None, {"fields": ["code", "name", "report_header"]}),
        ("Counting and signing", {"fields": ["target_cells", "four_eyes", "quality_lock"]}),
        ("Turn-around", {"fields": ["stat_target_minutes", "routine_target_minutes"]}),
    ]


@admin.register(ReferenceRange, site=site)
class ReferenceRangeAdmin(Removable):
    form = ReferenceRangeForm
    list_display = [
        "cell_class", "quantity", "sex", "age_from_days", "age_to_days", "low", "high",
        "critical_low", "critical_high", "site", "source",
    ]  # fmt: skip
    list_filter = ["cell_class", "quantity", "sex", "site"]
    list_select_related = ["site"]
    fieldsets = [
        ("Whom it holds for", {"fields": ["site", "sex", ("age_from_days", "age_to_days")]}),
        ("What", {"fields": [("cell_class", "quantity")]}),
        ("Limits", {"fields": [("low", "high"), ("critical_low", "critical_high"), "source"]}),
    ]


@admin.register(QueueRule, site=site)
class QueueRuleAdmin(Removable):
    form = QueueRuleForm
    list_display = ["kind", "threshold", "enabled", "site"]
    list_filter = ["kind", "site"]
    list_select_related = ["site"]


@admin.register(CodeMapping, site=site)
class CodeMappingAdmin(Removable):
    """Codes of the own sites in place of the defaults; the portal shows the table in force."""

    list_display = ["site", "quantity", "cell_class", "system", "code", "display", "unit"]
    list_filter = ["quantity", "system"]
    list_select_related = ["site"]

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[CodeMapping]":
        return visible_to(request.user, CodeMapping)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "site":
            kwargs["queryset"] = visible_to(request.user, Site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(OrderedTest, site=site)
class OrderedTestAdmin(Removable):
    """What the hospital's test codes mean; a held message asks for an unknown one."""

    list_display = ["site", "code", "system", "meaning"]
    list_filter = ["meaning"]
    list_select_related = ["site"]

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[OrderedTest]":
        return visible_to(request.user, OrderedTest)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "site":
            kwargs["queryset"] = visible_to(request.user, Site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


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

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[AuditEvent]":
        return visible_to(request.user, AuditEvent)


@admin.register(Report, site=site)
class ReportAdmin(ReadOnly):
    """Who signed what; the content is read on the portal, which records the look."""

    list_display = ["pk", "specimen", "version", "signer_name", "signed_at", "sha256"]
    list_select_related = ["specimen"]
    fields = ["specimen", "version", "signer_name", "signed_at", "meaning", "sha256"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Report]":
        return visible_to(request.user, Report)


@admin.register(Review, site=site)
class ReviewAdmin(ReadOnly):
    list_display = ["pk", "cell_image", "label", "reviewer", "revision", "created_at"]
    list_select_related = ["cell_image", "reviewer"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Review]":
        return visible_to(request.user, Review)


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


@admin.register(PacsServer, site=site)
class PacsServerAdmin(Removable):
    """The archives of the own sites; the page of the DICOM network asks whether they answer."""

    list_display = ["name", "site", "way", "ae_title", "host", "port", "dicomweb_url", "active"]
    list_select_related = ["site"]

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[PacsServer]":
        return visible_to(request.user, PacsServer)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "site":
            kwargs["queryset"] = visible_to(request.user, Site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(Destination, site=site)
class DestinationAdmin(ReadOnly):
    """Entered and changed on the portal, where each channel judges its settings."""

    list_display = ["name", "site", "kind", "address", "active", "unreachable_since"]
    list_filter = ["site", "kind", "active"]
    list_select_related = ["site"]

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Destination]":
        return visible_to(request.user, Destination)


@admin.register(Delivery, site=site)
class DeliveryAdmin(ReadOnly):
    """What went where; the message itself is read on the portal, which records the look."""

    list_display = ["message_id", "destination", "event", "state", "attempts", "finished_at"]
    list_filter = ["state", "event", "destination"]
    list_select_related = ["destination"]
    exclude = ["payload", "content"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Delivery]":
        return visible_to(request.user, Delivery).defer("payload", "content")


@admin.register(DelivererHeartbeat, site=site)
class DelivererHeartbeatAdmin(ReadOnly):
    list_display = ["worker", "started_at", "seen_at"]
