from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("specimens", "0013_operations")]

    operations = []
