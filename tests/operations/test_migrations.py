"""New migrations must suit a running platform with large tables (docs/operations.md)."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader

# The first release is made of these; no installation was ever updated over them.
FIRST_RELEASE: Final = 14
LARGE: Final = frozenset(
    {"auditevent", "cellimage", "delivery", "deliveryattempt", "dicomframe", "dicomimport",
     "dicominstance", "inboundmessage", "job", "prediction", "review"}
)  # fmt: skip


def faults(migration: Any) -> Iterator[str]:
    """Yield what would stop, or break, the version that runs while this is applied."""
    new = {op.name_lower for op in migration.operations if isinstance(op, migrations.CreateModel)}
    for operation in migration.operations:
        model = str(getattr(operation, "model_name", "") or "").lower()
        if model in new:
            continue
        if isinstance(operation, migrations.AddField) and not _suits_old_code(operation.field):
            yield f"{model}.{operation.name}: nullable or with db_default: old code inserts rows"
        if isinstance(operation, migrations.RenameField | migrations.RenameModel):
            yield f"{operation.describe()}: add the new one, fill it, drop the old one later"
        if model not in LARGE:
            continue
        if isinstance(operation, AddIndexConcurrently):
            if migration.atomic:
                yield f"{model}: AddIndexConcurrently wants atomic = False"
        elif isinstance(operation, migrations.AddIndex):
            yield f"{model}: an index of a large table is AddIndexConcurrently"
        elif isinstance(operation, migrations.AddConstraint):
            yield f"{model}: a constraint of a large table is AddConstraintNotValid, then validated"
        elif isinstance(operation, migrations.AlterField):
            yield f"{model}.{operation.name}: changing a column may rewrite the table: add another"


def _suits_old_code(field: Any) -> bool:
    return bool(field.null or field.db_default is not models.NOT_PROVIDED or field.many_to_many)


def test_migrations_suit_a_running_platform() -> None:
    added = {
        name: migration
        for (app, name), migration in MigrationLoader(None).disk_migrations.items()
        if app in ("specimens", "classifier") and int(name[:4]) > FIRST_RELEASE
    }
    found = {name: list(faults(migration)) for name, migration in added.items()}
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("job", "x", models.IntegerField(default=0)),
        migrations.AddField("site", "x", models.CharField(max_length=3, default="")),
        migrations.AddIndex("Prediction", models.Index(fields=["created_at"], name="x")),
        migrations.AddConstraint("job", models.UniqueConstraint(fields=["turn"], name="x")),
        migrations.AlterField("auditevent", "action", models.TextField()),
        migrations.RenameField("site", "code", "x"),
        AddIndexConcurrently("Prediction", models.Index(fields=["created_at"], name="x")),
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_would_stop_the_platform_is_found(operation: Any) -> None:
    migration = type("Migration", (migrations.Migration,), {"operations": [operation]})
    assert len(list(faults(migration("0099_x", "specimens")))) == 1


def test_what_suits_it_passes() -> None:
    class Migration(migrations.Migration):
        atomic = False
        operations = [
            migrations.AddField("job", "x", models.IntegerField(null=True)),
            migrations.AddField("job", "y", models.IntegerField(default=0, db_default=0)),
            AddIndexConcurrently("job", models.Index(fields=["x"], name="x")),
            migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
            migrations.AddIndex("new", models.Index(fields=["id"], name="z")),
        ]

    assert list(faults(Migration("0099_x", "specimens"))) == []
