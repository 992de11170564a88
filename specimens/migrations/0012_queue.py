import django.db.models.deletion
from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def name_sites_of_open_jobs(apps, schema_editor):
    """What ended long ago needs no place in the queue; it stays without site and specimen."""
    Job = apps.get_model("specimens", "Job")
    image = apps.get_model("specimens", "CellImage").objects.filter(pk=OuterRef("cell_image"))
    Job.objects.filter(state__in=["queued", "running"]).update(
        site_id=Subquery(image.values("site")[:1]),
        specimen_id=Subquery(image.values("specimen")[:1]),
    )


def vacuum_by_number(apps, schema_editor):
    """Each job leaves two dead rows behind on its way through the queue.

    By default they are cleared away when they are a fifth of the table: after years of jobs, that
    is after many days, and claims would walk past all of them.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "ALTER TABLE specimens_job SET (autovacuum_vacuum_scale_factor = 0, "
            "autovacuum_vacuum_threshold = 50000, autovacuum_analyze_scale_factor = 0, "
            "autovacuum_analyze_threshold = 50000)"
        )


def vacuum_as_by_default(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "ALTER TABLE specimens_job RESET (autovacuum_vacuum_scale_factor, "
            "autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor, "
            "autovacuum_analyze_threshold)"
        )


class Migration(migrations.Migration):
    dependencies = [("specimens", "0011_prediction_shown")]

    operations = [
        migrations.RemoveIndex(model_name="job", name="job_queued"),
        migrations.RemoveIndex(model_name="job", name="job_running"),
        migrations.AddField(
            model_name="job",
            name="site",
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="specimens.site"),
        ),
        migrations.AddField(
            model_name="job",
            name="specimen",
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="specimens.specimen"),
        ),
        migrations.AddField(
            model_name="job",
            name="turn",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.RunPython(name_sites_of_open_jobs, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(condition=models.Q(("state", "queued"), ("attempts", 0)), fields=["priority", "turn", "id"], name="job_fresh"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(condition=models.Q(("state", "queued"), ("attempts", 0)), fields=["site", "priority", "turn"], name="job_fresh_of_site"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(condition=models.Q(("state", "queued"), ("attempts__gt", 0)), fields=["priority", "id"], name="job_retried"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(condition=models.Q(("state", "running")), fields=["lease_token"], name="job_running"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(condition=models.Q(("state__in", ["queued", "running"])), fields=["specimen"], name="job_open_of_specimen"),
        ),
        migrations.AddIndex(
            model_name="specimen",
            index=models.Index(condition=models.Q(("state", "imaged")), fields=["id"], name="specimen_imaged"),
        ),
        migrations.RunPython(vacuum_by_number, vacuum_as_by_default),
    ]
