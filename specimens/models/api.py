"""What the REST interface keeps of its own: what a token may do, and answers to give again."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from specimens.models.accounts import Role


class TokenGrant(models.Model):
    """What a token was given for. Where its account has become another, the token ends.

    `role` and `sites` are those of the account when the token was made.
    """

    class Scope(models.TextChoices):
        READ = "read", "Read"
        WRITE = "write", "Write"

    token = models.OneToOneField(
        "knox.AuthToken", on_delete=models.CASCADE, related_name="grant", primary_key=True
    )
    scopes = models.JSONField(default=list)
    role = models.CharField(max_length=20, choices=Role.choices)
    sites = models.JSONField(default=list, help_text="Ids, ascending.")
    rotated_at = models.DateTimeField(
        null=True, blank=True, help_text="Replaced by another; ends soon."
    )

    def __str__(self) -> str:
        return f"{self.role}: {', '.join(self.scopes)}"


class IdempotencyKey(models.Model):
    """One create under the name its sender gave it, with the answer to give again.

    Two rows never hold the same key of one account, so of two requests one waits outside.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    key = models.CharField(max_length=200)
    request_digest = models.CharField(max_length=64, help_text="SHA-256 of what was asked.")
    attempt = models.UUIDField(help_text="Proves who works on it.")
    started_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Empty: running.")
    headers = models.JSONField(default=dict, blank=True)
    body = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="one_answer_per_key")
        ]
        indexes = [models.Index(fields=["expires_at"], name="idempotency_expiry")]

    def __str__(self) -> str:
        return self.key
