from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("specimens", "0005_indexes_for_years_of_jobs")]

    operations = []
