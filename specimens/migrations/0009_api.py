import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def grant_what_tokens_could_do(apps, schema_editor):
    """Tokens made before scopes existed keep what they could do: all that their account may."""
    token_model = apps.get_model("knox", "AuthToken")
    grant_model = apps.get_model("specimens", "TokenGrant")
    for token in token_model.objects.select_related("user"):
        sites = sorted(token.user.sites.values_list("pk", flat=True))
        grant_model.objects.create(
            token=token, scopes=["read", "write"], role=token.user.role, sites=sites
        )


class Migration(migrations.Migration):
    dependencies = [
        ("knox", "0009_extend_authtoken_field"),
        ("specimens", "0008_dicom"),
    ]

    operations = [
        migrations.CreateModel(
            name='TokenGrant',
            fields=[
                ('token', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='grant', serialize=False, to='knox.authtoken')),
                ('scopes', models.JSONField(default=list)),
                ('role', models.CharField(choices=[('technician', 'Technician'), ('pathologist', 'Pathologist'), ('administrator', 'Administrator'), ('integration', 'Integration')], max_length=20)),
                ('sites', models.JSONField(default=list, help_text='Ids, ascending.')),
                ('rotated_at', models.DateTimeField(blank=True, help_text='Replaced by another; ends soon.', null=True)),
            ],
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=200)),
                ('request_digest', models.CharField(help_text='SHA-256 of what was asked.', max_length=64)),
                ('attempt', models.UUIDField(help_text='Proves who works on it.')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('status', models.PositiveSmallIntegerField(blank=True, help_text='Empty: running.', null=True)),
                ('headers', models.JSONField(blank=True, default=dict)),
                ('body', models.JSONField(blank=True, null=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['expires_at'], name='idempotency_expiry')],
                'constraints': [models.UniqueConstraint(fields=('account', 'key'), name='one_answer_per_key')],
            },
        ),
        migrations.RunPython(grant_what_tokens_could_do, migrations.RunPython.noop),
    ]
