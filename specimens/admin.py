"""What administrators enter: accounts, sites, reference ranges, rules, codes, archives.

Django looks for this module, so it brings in what is only read (admin_records) as well.
"""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse

from specimens import admin_records  # noqa: F401 - registers its pages
from specimens.admin_forms import AccountForm, QueueRuleForm, ReferenceRangeForm, SiteForm
from specimens.admin_site import (
    AdministratorsOnly,
    OfOwnSites,
    Removable,
    record_change,
    site,
)
from specimens.models import (
    CodeMapping,
    OrderedTest,
    PacsServer,
    QueueRule,
    ReferenceRange,
    Site,
    User,
)
from specimens.services.guessing import unlock
from specimens.services.second_factor import remove_second_factor
from specimens.services.tokens import revoke_tokens


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
                record_change(request, changed, "password_changed")
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
class CodeMappingAdmin(OfOwnSites, Removable):
    """Codes of the own sites in place of the defaults; the portal shows the table in force."""

    list_display = ["site", "quantity", "cell_class", "system", "code", "display", "unit"]
    list_filter = ["quantity", "system"]
    list_select_related = ["site"]


@admin.register(OrderedTest, site=site)
class OrderedTestAdmin(OfOwnSites, Removable):
    """What the hospital's test codes mean; a held message asks for an unknown one."""

    list_display = ["site", "code", "system", "meaning"]
    list_filter = ["meaning"]
    list_select_related = ["site"]


@admin.register(PacsServer, site=site)
class PacsServerAdmin(OfOwnSites, Removable):
    """The archives of the own sites; the page of the DICOM network asks whether they answer."""

    list_display = ["name", "site", "way", "ae_title", "host", "port", "dicomweb_url", "active"]
    list_select_related = ["site"]
