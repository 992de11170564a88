"""The database itself refuses to change or remove an audit event."""

from django.db import migrations

POSTGRESQL = [
    """
    CREATE FUNCTION specimens_refuse_audit_change() RETURNS trigger AS $$
    BEGIN
        RAISE EXCEPTION 'the audit trail is append-only';
    END
    $$ LANGUAGE plpgsql
    """,
    """
    CREATE TRIGGER specimens_auditevent_append_only
    BEFORE UPDATE OR DELETE ON specimens_auditevent
    FOR EACH ROW EXECUTE FUNCTION specimens_refuse_audit_change()
    """,
]
SQLITE = [
    f"""
    CREATE TRIGGER specimens_auditevent_no_{act.lower()} BEFORE {act} ON specimens_auditevent
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """
    for act in ("UPDATE", "DELETE")
]


def protect(apps, schema_editor):
    statements = POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE
    for statement in statements:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("specimens", "0001_initial")]
    # No way back: a migration that removes the protection would be the hole in it.
    operations = [migrations.RunPython(protect)]
