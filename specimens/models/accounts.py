"""Sites, people and what they are there for."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Site(models.Model):
    """A laboratory location. People see the patients and specimens of their own sites only."""

    code = models.SlugField(max_length=30, unique=True)
    name = models.CharField(max_length=120)
    report_header = models.TextField(blank=True, help_text="Address lines above every report.")
    target_cells = models.PositiveIntegerField(
        default=100, help_text="White cells to count before a report can be signed."
    )
    four_eyes = models.BooleanField(
        default=False, help_text="Nobody signs a case that they alone have classified."
    )
    quality_lock = models.CharField(
        max_length=200, blank=True, help_text="Why nothing may be signed now; empty: not locked."
    )
    accession_issuers = models.CharField(
        max_length=200,
        blank=True,
        help_text="Assigning authorities of this site's accession numbers, separated by commas; "
        "DICOM objects that name another one are not matched by the number. Empty: any.",
    )
    routine_target_minutes = models.PositiveIntegerField(default=240)
    stat_target_minutes = models.PositiveIntegerField(default=60)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    TECHNICIAN = "technician", "Technician"
    PATHOLOGIST = "pathologist", "Pathologist"
    ADMINISTRATOR = "administrator", "Administrator"
    INTEGRATION = "integration", "Integration"


class User(AbstractUser):
    """An account. An account of the integration role belongs to a system and has no password."""

    role = models.CharField(max_length=20, choices=Role.choices, default=Role.TECHNICIAN)
    sites = models.ManyToManyField(Site, related_name="users", blank=True)
    hotkeys = models.JSONField(
        default=dict, blank=True, help_text="Class keys that differ from the defaults."
    )

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.username
