from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("specimens", "0011_prediction_shown")]

    operations = []
