"""What people say of cells and cases. Reviews are only ever added; the newest one holds."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from classifier.classes import ALL_CLASSES
from specimens.models.accounts import Site, User
from specimens.models.cells import CellImage
from specimens.models.specimens import Specimen

CLASS_CHOICES = [(cell_class.key, cell_class.name) for cell_class in ALL_CLASSES]


class Review(models.Model):
    """One decision of one person about one cell. An empty label takes the decision before back."""

    cell_image = models.ForeignKey(CellImage, on_delete=models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=30, choices=CLASS_CHOICES, blank=True)
    revision = models.PositiveIntegerField(help_text="Counts the reviews of the cell from 1.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cell_image", "revision"], name="one_review_per_revision"
            )
        ]

    def __str__(self) -> str:
        return f"{self.label or 'taken back'} ({self.reviewer})"


class Comment(models.Model):
    """A remark on a case, or on one of its cells; those marked so are printed on the report."""

    specimen = models.ForeignKey(Specimen, on_delete=models.PROTECT, related_name="comments")
    cell_image = models.ForeignKey(
        CellImage, on_delete=models.PROTECT, related_name="comments", null=True, blank=True
    )
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    text = models.TextField(max_length=2000)
    on_report = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.text[:60]


class SecondRead(models.Model):
    """A blinded read of a case by another person; it changes nothing of the first."""

    specimen = models.ForeignKey(Specimen, on_delete=models.PROTECT, related_name="second_reads")
    reader = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["specimen", "reader"], name="one_read_per_reader")
        ]

    def __str__(self) -> str:
        return f"{self.specimen}: {self.reader}"


class SecondReadLabel(models.Model):
    second_read = models.ForeignKey(SecondRead, on_delete=models.PROTECT, related_name="labels")
    cell_image = models.ForeignKey(CellImage, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=30, choices=CLASS_CHOICES)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["second_read", "cell_image"], name="one_label_per_read_and_cell"
            )
        ]

    def __str__(self) -> str:
        return self.label


class QueueRule(models.Model):
    """Brings a case up in the review queue. A site's own rule replaces the one for all sites."""

    class Kind(models.TextChoices):
        OUT_OF_RANGE = "out_of_range", "A class is outside its reference range"
        ABSTAINED_SHARE = "abstained_share", "Share of cells the model abstained on, % above"
        OOD_SHARE = "ood_share", "Share of cells unlike the training data, % above"
        TOO_FEW_CELLS = "too_few_cells", "White cells, fewer than"
        ALERTING_CLASS = "alerting_class", "Blasts or erythroblasts assigned"
        STAT = "stat", "STAT order"

    site = models.ForeignKey(
        Site, on_delete=models.CASCADE, null=True, blank=True, help_text="Empty: all sites."
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    threshold = models.FloatField(null=True, blank=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "kind"], name="one_rule_per_site_and_kind"),
            models.UniqueConstraint(
                fields=["kind"], condition=Q(site__isnull=True), name="one_common_rule_per_kind"
            ),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()


class SavedView(models.Model):
    """A filter of the worklist under a name, one person's own."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=500)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="one_saved_view_per_name")
        ]

    def __str__(self) -> str:
        return self.name
