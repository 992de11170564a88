from django.db import migrations, models

import specimens.models.cells


class Migration(migrations.Migration):
    dependencies = [("specimens", "0010_codes")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="shown",
            field=models.JSONField(
                default=specimens.models.cells.whole_image,
                help_text="Left, top and side of what the model saw, in parts of the central square.",
            ),
        ),
    ]
