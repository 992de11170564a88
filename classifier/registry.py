"""Enters the model files a worker loaded into the database, for predictions to name."""

from django.db import transaction

from classifier.artifact import ModelArtifact
from classifier.models import ModelVersion


@transaction.atomic
def register_model_version(artifact: ModelArtifact) -> ModelVersion:
    """Return the row of these files, made on first sight, and make it the active version."""
    version, _ = ModelVersion.objects.get_or_create(
        digest=artifact.digest,
        defaults={
            "name": artifact.name,
            "version": artifact.version,
            "metadata": dict(artifact.metadata),
        },
    )
    if not version.is_active:
        ModelVersion.objects.filter(is_active=True).update(is_active=False)
        version.is_active = True
        version.save(update_fields=["is_active"])
    return version
