"""Defaults a site replaces by its own: adult reference ranges and the rules of the review queue.

Reports, once written, are protected by the database like the audit trail.
"""

from django.db import migrations

ADULT = 18 * 365
SOURCE = "Dacie and Lewis, Practical Haematology, 12th ed., adults; to be confirmed by the site"
# class, per cent (low, high), 10^9/L (low, high, critical low)
RANGES = [
    ("neutrophil", ("40", "80"), ("2.00", "7.00", "0.50")),
    ("lymphocyte", ("20", "40"), ("1.00", "3.00", None)),
    ("monocyte", ("2", "10"), ("0.20", "1.00", None)),
    ("eosinophil", ("1", "6"), ("0.02", "0.50", None)),
    ("basophil", (None, "2"), ("0.02", "0.10", None)),
]
RULES = [
    ("out_of_range", None),
    ("abstained_share", 10.0),
    ("ood_share", 10.0),
    ("too_few_cells", 100.0),
    ("alerting_class", None),
    ("stat", None),
]
POSTGRESQL = """
    CREATE TRIGGER specimens_report_never_changed
    BEFORE UPDATE OR DELETE ON specimens_report
    FOR EACH ROW EXECUTE FUNCTION specimens_refuse_report_change()
"""
POSTGRESQL_FUNCTION = """
    CREATE FUNCTION specimens_refuse_report_change() RETURNS trigger AS $$
    BEGIN
        RAISE EXCEPTION 'a signed report is never changed';
    END
    $$ LANGUAGE plpgsql
"""


def insert(apps, schema_editor):
    reference = apps.get_model("specimens", "ReferenceRange")
    for cell_class, (low, high), (low_count, high_count, critical_low) in RANGES:
        common = {"cell_class": cell_class, "age_from_days": ADULT, "source": SOURCE}
        reference.objects.create(quantity="percent", low=low, high=high, **common)
        reference.objects.create(
            quantity="absolute",
            low=low_count,
            high=high_count,
            critical_low=critical_low,
            **common,
        )
    reference.objects.create(
        cell_class="blast", quantity="percent", high="0", critical_high="0",
        source="Any blast is reported at once",
    )  # fmt: skip
    rule = apps.get_model("specimens", "QueueRule")
    rule.objects.bulk_create([rule(kind=kind, threshold=threshold) for kind, threshold in RULES])


def protect(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_FUNCTION)
        schema_editor.execute(POSTGRESQL)
        return
    for act in ("UPDATE", "DELETE"):
        schema_editor.execute(
            f"CREATE TRIGGER specimens_report_no_{act.lower()} BEFORE {act} ON specimens_report "
            "BEGIN SELECT RAISE(ABORT, 'a signed report is never changed'); END"
        )


class Migration(migrations.Migration):
    dependencies = [("specimens", "0003_review_and_reports")]
    operations = [
        migrations.RunPython(insert, migrations.RunPython.noop),
        migrations.RunPython(protect),
    ]
