import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("specimens", "0009_api")]

    operations = [
        migrations.CreateModel(
            name='CodeMapping',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('quantity', models.CharField(choices=[('percent', 'Percentage of a class'), ('absolute', 'Absolute count of a class'), ('per_100_wbc', 'Cells of a class per 100 white cells'), ('cell', 'Kind of cell'), ('panel', 'Differential (panel)'), ('cells_counted', 'White cells counted'), ('wbc_count', 'White-cell count of the analyser'), ('method', 'Method of a signed result'), ('method_unverified', 'Method of a result nobody has verified')], max_length=20)),
                ('cell_class', models.CharField(blank=True, choices=[('basophil', 'Basophil'), ('eosinophil', 'Eosinophil'), ('lymphocyte', 'Lymphocyte'), ('monocyte', 'Monocyte'), ('neutrophil', 'Neutrophil'), ('band_neutrophil', 'Band neutrophil'), ('immature_granulocyte', 'Immature granulocyte'), ('blast', 'Blast'), ('atypical_lymphocyte', 'Atypical lymphocyte'), ('plasma_cell', 'Plasma cell'), ('erythroblast', 'Erythroblast'), ('smudge_cell', 'Smudge cell'), ('giant_platelet', 'Giant platelet'), ('artefact', 'Artefact')], help_text='Empty for what is said of the whole differential.', max_length=30)),
                ('system', models.CharField(help_text='URI: http://loinc.org, http://snomed.info/sct, or that of your own codes.', max_length=200)),
                ('code', models.CharField(max_length=64)),
                ('display', models.CharField(help_text='For people to read; nothing is matched by it.', max_length=200)),
                ('unit', models.CharField(blank=True, help_text='UCUM; empty: the unit of the default.', max_length=20)),
                ('site', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='code_mappings', to='specimens.site')),
            ],
            options={
                'ordering': ['site', 'quantity', 'cell_class'],
                'constraints': [models.UniqueConstraint(fields=('site', 'quantity', 'cell_class'), name='one_code_per_site_quantity_and_class')],
            },
        ),
    ]
