from django.db import migrations

import specimens.models.second_factor


class Migration(migrations.Migration):
    dependencies = [
        ("otp_static", "0003_add_timestamps"),
        ("otp_totp", "0003_add_timestamps"),
        ("specimens", "0013_operations"),
    ]

    # Proxies: nothing of the database changes here.
    operations = [
        migrations.CreateModel(
            name="Authenticator",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=(specimens.models.second_factor.BoundedThrottle, "otp_totp.totpdevice"),
        ),
        migrations.CreateModel(
            name="RecoveryCodes",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=(specimens.models.second_factor.BoundedThrottle, "otp_static.staticdevice"),
        ),
    ]
