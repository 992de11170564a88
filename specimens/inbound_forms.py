"""Forms for what hospital systems sent: the tube of an expected order, and a held message."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.utils import timezone

from specimens.forms import MISSING, MinuteInput
from specimens.models import InboundMessage, OrderedTest

# The correction each reason for holding asks for; the others are only retried or discarded.
CORRECTIONS: Final = {
    "unknown_test": ("test_meaning",),
    "patient_differs": ("demographics",),
    "accession_number": ("accession_number", "as_expected"),
    "unknown_order": ("order_number",),
    "other_patient": ("order_number",),
    "cancelled": ("order_number",),
}


class ExpectedTubeForm(forms.Form):
    """The tube of an order that was placed before it came."""

    accession_number = forms.CharField(
        max_length=32, help_text="Scan the tube, or keep the proposed number."
    )
    collected_at = forms.DateTimeField(label="Collected", required=False, widget=MinuteInput)
    wbc_count = forms.DecimalField(
        label="WBC count",
        required=False,
        max_digits=6,
        decimal_places=2,
        min_value=0,
        help_text="10⁹/L, from the analyser. Absolute counts are given only with it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        number = self.fields["accession_number"]
        number.error_messages["required"] = MISSING["accession_number"]
        number.widget.attrs.update(autocomplete="off", spellcheck="false", autofocus=True)

    def clean_collected_at(self) -> Any:
        collected_at = self.cleaned_data["collected_at"]
        if collected_at and collected_at > timezone.now() + timedelta(minutes=5):
            raise forms.ValidationError("This time is in the future. Check day and time.")
        return collected_at


class CorrectionForm(forms.Form):
    """What a person decides about a held message; only what its reason asks for is shown."""

    test_meaning = forms.ChoiceField(
        label="This test code is",
        choices=OrderedTest.Meaning.choices,
        widget=forms.RadioSelect,
        error_messages={"required": "Say what the code means."},
        help_text="Kept for the site: the next order with this code is followed at once.",
    )
    demographics = forms.ChoiceField(
        label="Which data are right?",
        choices=[
            ("recorded", "It is the recorded person: keep the recorded data"),
            ("message", "It is the recorded person: take the data of the message over"),
        ],
        widget=forms.RadioSelect,
        error_messages={"required": "Compare the data, then choose."},
        help_text="Where it is somebody else, discard the message and ask the sender.",
    )
    accession_number = forms.CharField(
        max_length=32, required=False, help_text="The number of the tube, in place of the sent one."
    )
    as_expected = forms.BooleanField(
        required=False, label="Without a number yet: accession the tube when it comes"
    )
    order_number = forms.CharField(
        label="Order that is meant",
        max_length=64,
        required=False,
        help_text="Its placer or accession number. Empty: look again for those of the message.",
    )

    def __init__(self, *args: Any, message: InboundMessage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        wanted = CORRECTIONS.get(message.code, ())
        for name in list(self.fields):
            if name not in wanted:
                del self.fields[name]


class DiscardForm(forms.Form):
    """Why a held message is not followed."""

    reason = forms.CharField(
        max_length=500, error_messages={"required": "Say why the message is discarded."}
    )
