"""What passed the DICOM listener, and the archives images may be fetched from."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from specimens.models.accounts import Site

ae_title_validator = RegexValidator(
    r"^[!-\[\]-~](?:[ !-\[\]-~]{0,14}[!-\[\]-~])?$",
    "1 to 16 characters of ASCII without a backslash, no space at either end.",
)


class AssociationLog(models.Model):
    """One association with the listener, or a run of equal refusals. Holds no patient data.

    A row that still says "open" after its listener has gone was cut off with it.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        RELEASED = "released", "Released"
        ABORTED = "aborted", "Aborted"
        REFUSED = "refused", "Refused"

    listener = models.CharField(max_length=80, help_text="Host and process id.")
    peer = models.CharField(max_length=64, help_text="Address of the other side.")
    calling_ae = models.CharField(max_length=16, blank=True)
    called_ae = models.CharField(max_length=16, blank=True)
    encrypted = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    reason = models.CharField(max_length=300, blank=True)
    stored = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    occurrences = models.PositiveIntegerField(default=1, help_text="Equal refusals in a row.")
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        indexes = [models.Index(fields=["-started_at"], name="association_recent")]

    def __str__(self) -> str:
        return f"{self.calling_ae or self.peer} {self.started_at:%Y-%m-%d %H:%M:%S}"


class PacsServer(models.Model):
    """An archive of one site. Secrets are named (a variable or a file), never stored."""

    class Way(models.TextChoices):
        DIMSE = "dimse", "C-FIND and C-MOVE"
        DICOMWEB = "dicomweb", "DICOMweb (QIDO-RS and WADO-RS)"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="pacs_servers")
    name = models.CharField(max_length=60)
    way = models.CharField("fetch by", max_length=10, choices=Way.choices, default=Way.DIMSE)
    host = models.CharField(max_length=253, blank=True)
    port = models.PositiveIntegerField(
        default=104, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    ae_title = models.CharField(
        "AE title", max_length=16, blank=True, validators=[ae_title_validator]
    )
    encrypted = models.BooleanField("TLS", default=False)
    dicomweb_url = models.CharField(
        "DICOMweb address",
        max_length=200,
        blank=True,
        validators=[RegexValidator(r"^https?://[^\s/?#@]+[^\s?#]*$", "An http or https address.")],
        help_text="Up to where /studies follows, such as https://pacs.example.org/dicom-web",
    )
    user_name = models.CharField(max_length=100, blank=True, help_text="For DICOMweb, if it asks.")
    secret = models.CharField(
        "secret's place",
        max_length=200,
        blank=True,
        help_text="Name of the environment variable (WBCLAB_DELIVERY_...), or of the file in the "
        "folder of secrets, that holds the password or, without a user name, the bearer token.",
    )
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["site", "name"]
        constraints = [
            models.UniqueConstraint(fields=["site", "name"], name="one_pacs_per_name"),
            models.CheckConstraint(
                condition=Q(way="dicomweb") | ~Q(host="") & ~Q(ae_title=""),
                name="pacs_has_what_its_way_needs",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Ask for what the chosen way needs."""
        if self.way == self.Way.DIMSE and not (self.host and self.ae_title):
            raise ValidationError("Fetching by C-MOVE needs the host, port and AE title.")
        if self.way == self.Way.DICOMWEB and not self.dicomweb_url:
            raise ValidationError({"dicomweb_url": "Fetching by DICOMweb needs this address."})
