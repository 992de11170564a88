"""What is on record, for administrators to read: predictions, reports, jobs, deliveries."""

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from classifier.models import ModelVersion
from specimens.admin_site import OfOwnSites, ReadOnly, site
from specimens.models import (
    AuditEvent,
    DelivererHeartbeat,
    Delivery,
    Destination,
    Job,
    Prediction,
    Report,
    Review,
    WorkerHeartbeat,
)


@admin.register(ModelVersion, site=site)
class ModelVersionAdmin(ReadOnly):
    list_display = ["name", "version", "is_active", "registered_at", "digest"]


@admin.register(Prediction, site=site)
class PredictionAdmin(OfOwnSites, ReadOnly):
    list_display = ["pk", "decision", "confidence", "model_version", "engine", "created_at"]
    list_filter = ["decision", "model_version", "engine"]
    list_select_related = ["model_version"]
    exclude = ["embedding", "explanation"]
    ordering = ["-pk"]
    show_full_result_count = False


@admin.register(AuditEvent, site=site)
class AuditEventAdmin(OfOwnSites, ReadOnly):
    list_display = ["sequence", "at", "actor_name", "action", "object_type", "object_id"]
    list_filter = ["action"]
    search_fields = ["actor_name", "object_id"]
    ordering = ["-sequence"]
    show_full_result_count = False


@admin.register(Report, site=site)
class ReportAdmin(OfOwnSites, ReadOnly):
    """Who signed what; the content is read on the portal, which records the look."""

    list_display = ["pk", "specimen", "version", "signer_name", "signed_at", "sha256"]
    list_select_related = ["specimen"]
    fields = ["specimen", "version", "signer_name", "signed_at", "meaning", "sha256"]
    ordering = ["-pk"]
    show_full_result_count = False


@admin.register(Review, site=site)
class ReviewAdmin(OfOwnSites, ReadOnly):
    list_display = ["pk", "cell_image", "label", "reviewer", "revision", "created_at"]
    list_select_related = ["cell_image", "reviewer"]
    ordering = ["-pk"]
    show_full_result_count = False


@admin.register(Job, site=site)
class JobAdmin(OfOwnSites, ReadOnly):
    list_display = ["pk", "state", "priority", "attempts", "worker", "error_code", "finished_at"]
    list_filter = ["state", "priority", "error_code"]
    ordering = ["-pk"]
    show_full_result_count = False


@admin.register(WorkerHeartbeat, site=site)
class WorkerHeartbeatAdmin(ReadOnly):
    list_display = ["worker", "engine", "started_at", "seen_at"]


@admin.register(Destination, site=site)
class DestinationAdmin(OfOwnSites, ReadOnly):
    """Entered and changed on the portal, where each channel judges its settings."""

    list_display = ["name", "site", "kind", "address", "active", "unreachable_since"]
    list_filter = ["site", "kind", "active"]
    list_select_related = ["site"]


@admin.register(Delivery, site=site)
class DeliveryAdmin(OfOwnSites, ReadOnly):
    """What went where; the message itself is read on the portal, which records the look."""

    list_display = ["message_id", "destination", "event", "state", "attempts", "finished_at"]
    list_filter = ["state", "event", "destination"]
    list_select_related = ["destination"]
    exclude = ["payload", "content"]
    ordering = ["-pk"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Delivery]":
        return super().get_queryset(request).defer("payload", "content")


@admin.register(DelivererHeartbeat, site=site)
class DelivererHeartbeatAdmin(ReadOnly):
    list_display = ["worker", "started_at", "seen_at"]
