"""Forms of the administration: what would be a useless rule or limit is refused, and why."""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.contrib.auth.forms import UserChangeForm
from django.core.exceptions import ValidationError
from django.db.models import Q

from specimens.hotkeys import UnusableKeys, own_keys
from specimens.models import QueueRule, ReferenceRange, Site

_SHARES: Final = (QueueRule.Kind.ABSTAINED_SHARE, QueueRule.Kind.OOD_SHARE)
_WITH_THRESHOLD: Final = (*_SHARES, QueueRule.Kind.TOO_FEW_CELLS)


class SiteForm(forms.ModelForm):  # type: ignore[type-arg]
    """How a site counts, signs and is late."""

    class Meta:
        model = Site
        fields = (
            "code",
            "name",
            "report_header",
            "target_cells",
            "four_eyes",
            "quality_lock",
            "stat_target_minutes",
            "routine_target_minutes",
        )
        widgets = {"report_header": forms.Textarea(attrs={"rows": 4})}

    def clean_target_cells(self) -> int:
        """A target of no cells would let an empty case be signed as complete."""
        target: int = self.cleaned_data["target_cells"]
        if not 50 <= target <= 1000:
            raise ValidationError("Between 50 and 1000: fewer say little, more nobody counts.")
        return target

    def clean(self) -> dict[str, Any]:
        """STAT must not be allowed to take longer than routine."""
        found = super().clean() or self.cleaned_data
        stat, routine = found.get("stat_target_minutes"), found.get("routine_target_minutes")
        if stat and routine and stat > routine:
            self.add_error("stat_target_minutes", "STAT must not take longer than routine.")
        return found


class AccountForm(UserChangeForm):  # type: ignore[type-arg]
    """Role, sites and keys of an account."""

    def clean_hotkeys(self) -> dict[str, str]:
        """Take the keys under the rules of the review page."""
        given = self.cleaned_data["hotkeys"] or {}
        if not isinstance(given, Mapping):
            raise ValidationError('Write {"blast": "x"}: class keys with one letter each.')
        try:
            return own_keys(given)
        except UnusableKeys as refusal:
            raise ValidationError(str(refusal)) from refusal


class ReferenceRangeForm(forms.ModelForm):  # type: ignore[type-arg]
    """Limits of one class; two rows for one patient and quantity would contradict each other."""

    class Meta:
        model = ReferenceRange
        fields = (
            "site",
            "cell_class",
            "quantity",
            "sex",
            "age_from_days",
            "age_to_days",
            "low",
            "high",
            "critical_low",
            "critical_high",
            "source",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse a row without limits, and one that overlaps another of the same rank."""
        found = super().clean() or self.cleaned_data
        limits = ("low", "high", "critical_low", "critical_high")
        if all(found.get(name) is None for name in limits):
            raise ValidationError("Give at least one limit.")
        if self.errors:
            return found
        twin = self._overlapping(found)
        if twin is not None:
            raise ValidationError(
                f"Overlaps “{twin}” for ages {twin.age_from_days} to {twin.age_to_days} days. "
                "Change that one, or the ages here."
            )
        return found

    def _overlapping(self, found: Mapping[str, Any]) -> ReferenceRange | None:
        same = Q(site__isnull=True) if found["site"] is None else Q(site=found["site"])
        rows = ReferenceRange.objects.filter(
            same,
            cell_class=found["cell_class"],
            quantity=found["quantity"],
            sex=found["sex"],
            age_from_days__lt=found["age_to_days"],
            age_to_days__gt=found["age_from_days"],
        )
        return rows.exclude(pk=self.instance.pk).first()


class QueueRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule of the review queue, with its threshold where it has one."""

    class Meta:
        model = QueueRule
        fields = ("site", "kind", "threshold", "enabled")

    def clean(self) -> dict[str, Any]:
        """Ask for a threshold exactly where the rule compares with one."""
        found = super().clean() or self.cleaned_data
        kind, threshold = found.get("kind"), found.get("threshold")
        if kind in _WITH_THRESHOLD and threshold is None:
            self.add_error("threshold", "This rule needs a threshold.")
        elif kind and kind not in _WITH_THRESHOLD and threshold is not None:
            self.add_error("threshold", "This rule has no threshold: leave it empty.")
        elif threshold is not None and threshold < 0:
            self.add_error("threshold", "Give 0 or more.")
        elif kind in _SHARES and threshold is not None and threshold > 100:
            self.add_error("threshold", "Per cent: 0 to 100.")
        return found
