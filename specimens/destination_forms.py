"""The form of a destination; what its settings may be is for the channel to say."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms

from specimens.models import Destination, Site
from specimens.models.deliveries import Event, signed_events

ADDRESSES = (
    "Webhook, FHIR, STOW-RS: https://host/path. HL7: host:port. DICOM C-STORE: AETITLE@host:port."
)
SETTINGS = (
    "A JSON object; docs/integration.md lists what each kind takes. Secrets are never entered "
    'here: name where they lie, {"secret_file": "lis"} or {"secret_env": "WBCLAB_DELIVERY_LIS"}.'
)


class DestinationForm(forms.Form):
    """One destination. Without an `instance` a new one, which may choose site and kind."""

    site = forms.ModelChoiceField(Site.objects.none(), empty_label=None)
    name = forms.CharField(max_length=60, help_text="As people call the system.")
    kind = forms.ChoiceField(choices=Destination.Kind.choices)
    address = forms.CharField(max_length=500, help_text=ADDRESSES)
    events = forms.MultipleChoiceField(
        label="What it gets",
        choices=Event.choices,
        initial=signed_events,
        widget=forms.CheckboxSelectMultiple,
    )
    settings = forms.CharField(
        required=False,
        initial="{}",
        help_text=SETTINGS,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "code"}),
    )
    active = forms.BooleanField(
        label="Switched on",
        required=False,
        initial=True,
        help_text=(
            "Switched off, nothing is sent, and what is signed meanwhile is not queued: "
            "reconciliation lists it, and can queue it then."
        ),
    )

    def __init__(
        self, *args: Any, sites: Sequence[Site], instance: Destination | None = None, **kwargs: Any
    ) -> None:
        if instance is not None:
            names = ("name", "address", "events", "active")
            kwargs.setdefault("initial", {name: getattr(instance, name) for name in names})
            kwargs["initial"]["settings"] = json.dumps(
                instance.settings, indent=2, ensure_ascii=False
            )
        super().__init__(*args, **kwargs)
        if instance is not None:
            del self.fields["site"], self.fields["kind"]
            return
        choice = self.fields["site"]
        assert isinstance(choice, forms.ModelChoiceField)  # noqa: S101 - narrows the type
        choice.queryset = Site.objects.filter(pk__in=[site.pk for site in sites])

    def clean_settings(self) -> dict[str, Any]:
        text = self.cleaned_data["settings"].strip() or "{}"
        try:
            settings = json.loads(text)
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        if not isinstance(settings, dict):
            raise forms.ValidationError("Write an object: it begins with { and ends with }.")
        return settings
