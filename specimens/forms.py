"""Forms of the portal: what a person types, checked for form; the services check the meaning."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from specimens.models import Patient, Site, Specimen
from specimens.models.patients_orders import Priority, Sex
from specimens.services.accessioning import OrderData, PatientData


class DateInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class MinuteInput(forms.DateTimeInput):
    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


# What to do about an empty field that must not be empty.
MISSING = {
    "identifier": "Scan or type the patient number.",
    "family_name": "Type the family name.",
    "accession_number": "Scan or type a number; the proposed one was free.",
    "sex": "Choose one, Unknown if it is not known.",
    "priority": "Choose Routine or STAT.",
}


class AccessionForm(forms.Form):
    """Patient, order and specimen on one page, in the order they stand on a request form."""

    site = forms.ModelChoiceField(Site.objects.none(), empty_label=None)
    identifier = forms.CharField(
        label="Patient number", max_length=64, help_text="As printed on the wristband or label."
    )
    family_name = forms.CharField(max_length=100)
    given_name = forms.CharField(max_length=100, required=False)
    birth_date = forms.DateField(required=False, widget=DateInput)
    sex = forms.ChoiceField(choices=Sex.choices, initial=Sex.UNKNOWN)
    accession_number = forms.CharField(
        max_length=32, help_text="The next free number is proposed. Scan or type another one."
    )
    priority = forms.ChoiceField(
        choices=Priority.choices, initial=Priority.ROUTINE, widget=forms.RadioSelect
    )
    wbc_count = forms.DecimalField(
        label="WBC count",
        required=False,
        max_digits=6,
        decimal_places=2,
        min_value=0,
        help_text="10⁹/L, from the analyser. Absolute counts are given only with it.",
    )
    collected_at = forms.DateTimeField(label="Collected", required=False, widget=MinuteInput)
    requester = forms.CharField(
        max_length=120, required=False, help_text="Ward or physician who asked."
    )

    def __init__(self, *args: Any, sites: Sequence[Site], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["site"]
        assert isinstance(choice, forms.ModelChoiceField)  # noqa: S101 - narrows the type
        choice.queryset = Site.objects.filter(pk__in=[site.pk for site in sites])
        if len(sites) == 1:
            choice.widget = forms.HiddenInput()
            choice.initial = sites[0].pk
        for name, field in self.fields.items():
            if name in MISSING:
                field.error_messages["required"] = MISSING[name]
        self.fields["wbc_count"].widget.attrs.update(inputmode="decimal", step="0.01")
        for name in ("identifier", "accession_number", "family_name", "given_name"):
            self.fields[name].widget.attrs.update(autocomplete="off", spellcheck="false")

    def clean_birth_date(self) -> date | None:
        birth_date: date | None = self.cleaned_data["birth_date"]
        if birth_date and birth_date > timezone.localdate():
            raise forms.ValidationError("This day is in the future. Check the year.")
        return birth_date

    def clean_collected_at(self) -> datetime | None:
        collected_at: datetime | None = self.cleaned_data["collected_at"]
        if collected_at and collected_at > timezone.now() + timedelta(minutes=5):
            raise forms.ValidationError("This time is in the future. Check day and time.")
        return collected_at

    def patient_data(self, registered: Patient | None = None) -> PatientData:
        """What was typed, or the demographics of `registered` where the person chose those."""
        typed = self.cleaned_data
        return PatientData(
            identifier=typed["identifier"],
            family_name=registered.family_name if registered else typed["family_name"],
            given_name=registered.given_name if registered else typed["given_name"],
            birth_date=registered.birth_date if registered else typed["birth_date"],
            sex=registered.sex if registered else typed["sex"],
        )

    def order_data(self) -> OrderData:
        typed = self.cleaned_data
        return OrderData(priority=typed["priority"], requester=typed["requester"])


class RejectForm(forms.Form):
    """Why a specimen is turned away."""

    reason = forms.CharField(
        max_length=Specimen._meta.get_field("rejection_reason").max_length,
        error_messages={"required": "Say why the specimen is rejected."},
    )
