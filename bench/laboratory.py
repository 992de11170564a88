"""Makes what a measurement needs in the configured database: a token, and specimens to fill.

    python -m bench.laboratory SPECIMENS

Prints them as one line of JSON.
"""

import json
import os
import sys
from datetime import timedelta
from typing import Any

import django


def fill(count: int) -> dict[str, Any]:
    """Create site, technician, system account and specimens; return token and specimens."""
    from specimens.models import Role, Site, User
    from specimens.services.accessioning import OrderData, PatientData, accession_specimen
    from specimens.services.tokens import create_token

    site = Site.objects.create(code="bench", name="Measured laboratory")
    people = {}
    for role in (Role.TECHNICIAN, Role.INTEGRATION):
        people[role] = User.objects.create(username=f"bench-{role}", role=role)
        people[role].set_unusable_password()
        people[role].save()
        people[role].sites.add(site)
    token, _ = create_token(actor=None, user=people[Role.INTEGRATION], lifetime=timedelta(days=1))
    specimens = [
        accession_specimen(
            actor=people[Role.TECHNICIAN],
            site=site,
            accession_number=f"BENCH-{number:05}",
            patient=PatientData(identifier=f"B-{number}", family_name="Bench", given_name="Mark"),
            order=OrderData(requester="Bench"),
        ).pk
        for number in range(count)
    ]
    return {"token": token, "specimens": specimens}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
    django.setup()
    print(json.dumps(fill(int(sys.argv[1]))))
