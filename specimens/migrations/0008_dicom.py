import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import specimens.models.dicom
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('specimens', '0007_inbound_messages'),
    ]

    operations = [
        migrations.AddField(
            model_name='cellimage',
            name='frame',
            field=models.PositiveIntegerField(blank=True, help_text='Number of the frame within the DICOM file, from 1.', null=True),
        ),
        migrations.AddField(
            model_name='cellimage',
            name='micrometres_per_pixel',
            field=models.FloatField(blank=True, help_text='Where the file says it.', null=True),
        ),
        migrations.AddField(
            model_name='site',
            name='accession_issuers',
            field=models.CharField(blank=True, help_text="Assigning authorities of this site's accession numbers, separated by commas; DICOM objects that name another one are not matched by the number. Empty: any.", max_length=200),
        ),
        migrations.CreateModel(
            name='DicomInstance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('matched', 'Matched'), ('unmatched', 'Unmatched'), ('quarantined', 'Quarantined'), ('discarded', 'Discarded')], max_length=12)),
                ('reason', models.CharField(blank=True, help_text='Why it is in this state, for people.', max_length=500)),
                ('sop_class_uid', models.CharField(max_length=64)),
                ('sop_instance_uid', models.CharField(max_length=64)),
                ('series_instance_uid', models.CharField(blank=True, max_length=64)),
                ('study_instance_uid', models.CharField(blank=True, max_length=64)),
                ('transfer_syntax_uid', models.CharField(max_length=64)),
                ('number_of_frames', models.PositiveIntegerField(default=1)),
                ('rows', models.PositiveIntegerField()),
                ('columns', models.PositiveIntegerField()),
                ('micrometres_per_pixel', models.FloatField(blank=True, help_text='Where the data set says it.', null=True)),
                ('file', models.FileField(max_length=200, upload_to=specimens.models.dicom.instance_path)),
                ('filename', models.CharField(blank=True, help_text='As the sender named it.', max_length=255)),
                ('size', models.PositiveBigIntegerField(verbose_name='size in bytes')),
                ('sha256', models.CharField(help_text='Of the file as received.', max_length=64)),
                ('content_sha256', models.CharField(help_text='Of pixel data, their description and the identifiers.', max_length=64)),
                ('identifiers', models.JSONField(blank=True, default=dict, help_text='What the data set says of patient, order, specimen and container.')),
                ('icc_profile', models.CharField(blank=True, help_text='The embedded profile; empty: none.', max_length=120)),
                ('way', models.CharField(choices=[('upload', 'Upload page'), ('api', 'REST'), ('command', 'Command'), ('c-store', 'C-STORE'), ('stow', 'STOW-RS'), ('retrieve', 'Query and retrieve')], max_length=10)),
                ('sender', models.CharField(help_text='AE title, account or address.', max_length=120)),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('conflicts_with', models.ForeignKey(blank=True, help_text='The instance received first under the same UID, with other content.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='conflicts', to='specimens.dicominstance')),
                ('decided_by', models.ForeignKey(blank=True, help_text='Who assigned or discarded it by hand.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('received_from', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('site', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='dicom_instances', to='specimens.site')),
                ('specimen', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='dicom_instances', to='specimens.specimen')),
            ],
        ),
        migrations.CreateModel(
            name='DicomImport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('outcome', models.CharField(choices=[('stored', 'Stored'), ('duplicate', 'Known already'), ('unmatched', 'Unmatched'), ('quarantined', 'Quarantined'), ('refused', 'Refused')], max_length=12)),
                ('code', models.CharField(blank=True, help_text='Of the refusal.', max_length=40)),
                ('text', models.CharField(blank=True, max_length=1000)),
                ('way', models.CharField(choices=[('upload', 'Upload page'), ('api', 'REST'), ('command', 'Command'), ('c-store', 'C-STORE'), ('stow', 'STOW-RS'), ('retrieve', 'Query and retrieve')], max_length=10)),
                ('sender', models.CharField(max_length=120)),
                ('filename', models.CharField(blank=True, max_length=255)),
                ('size', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='size in bytes')),
                ('sop_class_uid', models.CharField(blank=True, max_length=64)),
                ('sop_instance_uid', models.CharField(blank=True, max_length=64)),
                ('study_instance_uid', models.CharField(blank=True, max_length=64)),
                ('transfer_syntax_uid', models.CharField(blank=True, max_length=64)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('actor', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('site', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='dicom_imports', to='specimens.site')),
                ('instance', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='imports', to='specimens.dicominstance')),
            ],
        ),
        migrations.CreateModel(
            name='DicomFrame',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(help_text='From 1.')),
                ('sha256', models.CharField(help_text='Of the encoded frame.', max_length=64)),
                ('cell_image', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='dicom_frame', to='specimens.cellimage')),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='frames', to='specimens.dicominstance')),
            ],
        ),
        migrations.AddIndex(
            model_name='dicominstance',
            index=models.Index(condition=models.Q(('state__in', ['unmatched', 'quarantined'])), fields=['site', '-received_at'], name='dicom_waiting'),
        ),
        migrations.AddIndex(
            model_name='dicominstance',
            index=models.Index(fields=['site', 'study_instance_uid'], name='dicom_study'),
        ),
        migrations.AddConstraint(
            model_name='dicominstance',
            constraint=models.UniqueConstraint(condition=models.Q(('conflicts_with__isnull', True)), fields=('site', 'sop_instance_uid'), name='one_dicom_instance_per_uid'),
        ),
        migrations.AddConstraint(
            model_name='dicominstance',
            constraint=models.UniqueConstraint(fields=('site', 'sop_instance_uid', 'content_sha256'), name='one_dicom_instance_per_content'),
        ),
        migrations.AddConstraint(
            model_name='dicominstance',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('specimen__isnull', False), ('state', 'matched')), models.Q(models.Q(('state', 'matched'), _negated=True), ('specimen__isnull', True)), _connector='OR'), name='dicom_matched_to_a_specimen'),
        ),
        migrations.AddIndex(
            model_name='dicomimport',
            index=models.Index(fields=['site', '-at'], name='dicom_import_log'),
        ),
        migrations.AddIndex(
            model_name='dicomimport',
            index=models.Index(condition=models.Q(('outcome', 'refused')), fields=['site', '-at'], name='dicom_import_refused'),
        ),
        migrations.AddConstraint(
            model_name='dicomframe',
            constraint=models.UniqueConstraint(fields=('instance', 'number'), name='one_row_per_dicom_frame'),
        ),
        migrations.CreateModel(
            name='AssociationLog',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('listener', models.CharField(help_text='Host and process id.', max_length=80)),
                ('peer', models.CharField(help_text='Address of the other side.', max_length=64)),
                ('calling_ae', models.CharField(blank=True, max_length=16)),
                ('called_ae', models.CharField(blank=True, max_length=16)),
                ('encrypted', models.BooleanField(default=False)),
                ('state', models.CharField(choices=[('open', 'Open'), ('released', 'Released'), ('aborted', 'Aborted'), ('refused', 'Refused')], default='open', max_length=10)),
                ('reason', models.CharField(blank=True, max_length=300)),
                ('stored', models.PositiveIntegerField(default=0)),
                ('refused', models.PositiveIntegerField(default=0)),
                ('occurrences', models.PositiveIntegerField(default=1, help_text='Equal refusals in a row.')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-started_at', '-id'],
                'indexes': [models.Index(fields=['-started_at'], name='association_recent')],
            },
        ),
        migrations.CreateModel(
            name='PacsServer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60)),
                ('way', models.CharField(choices=[('dimse', 'C-FIND and C-MOVE'), ('dicomweb', 'DICOMweb (QIDO-RS and WADO-RS)')], default='dimse', max_length=10, verbose_name='fetch by')),
                ('host', models.CharField(blank=True, max_length=253)),
                ('port', models.PositiveIntegerField(default=104, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(65535)])),
                ('ae_title', models.CharField(blank=True, max_length=16, validators=[django.core.validators.RegexValidator('^[!-\\[\\]-~](?:[ !-\\[\\]-~]{0,14}[!-\\[\\]-~])?$', '1 to 16 characters of ASCII without a backslash, no space at either end.')], verbose_name='AE title')),
                ('encrypted', models.BooleanField(default=False, verbose_name='TLS')),
                ('dicomweb_url', models.CharField(blank=True, help_text='Up to where /studies follows, such as https://pacs.example.org/dicom-web', max_length=200, validators=[django.core.validators.RegexValidator('^https?://[^\\s/?#@]+[^\\s?#]*$', 'An http or https address.')], verbose_name='DICOMweb address')),
                ('user_name', models.CharField(blank=True, help_text='For DICOMweb, if it asks.', max_length=100)),
                ('secret', models.CharField(blank=True, help_text='Name of the environment variable (WBCLAB_DELIVERY_...), or of the file in the folder of secrets, that holds the password or, without a user name, the bearer token.', max_length=200, verbose_name="secret's place")),
                ('active', models.BooleanField(default=True)),
                ('site', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pacs_servers', to='specimens.site')),
            ],
            options={
                'ordering': ['site', 'name'],
                'constraints': [models.UniqueConstraint(fields=('site', 'name'), name='one_pacs_per_name'), models.CheckConstraint(condition=models.Q(('way', 'dicomweb'), models.Q(models.Q(('host', ''), _negated=True), models.Q(('ae_title', ''), _negated=True)), _connector='OR'), name='pacs_has_what_its_way_needs')],
            },
        ),
    ]
