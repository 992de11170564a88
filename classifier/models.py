"""Which model made a prediction: every prediction refers to one row of ModelVersion."""

from django.db import models
from django.db.models import Q


class ModelVersion(models.Model):
    """One set of model files, identified by the digest over all of them.

    `metadata` is the shipped metadata.json: input, classes, temperature, thresholds, metrics, data
    with licences. At most one version is active; new predictions are made by that one.
    """

    name = models.CharField(max_length=50)
    version = models.CharField(max_length=50)
    digest = models.CharField(max_length=64, unique=True)
    metadata = models.JSONField()
    is_active = models.BooleanField(default=False)
    registered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-registered_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=Q(is_active=True), name="one_active_model_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
