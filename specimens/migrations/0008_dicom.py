from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("specimens", "0007_inbound_messages")]

    operations = []
