"""Sites, people and what they are there for."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Site(models.Model):
    """A laboratory location. People see the patients and specimens of their own sites only."""

    code = models.SlugField(max_length=30, unique=True)
    name = models.CharField(max_length=120)

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

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.username
