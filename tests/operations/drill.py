"""What the drill does in processes of its own, over a database that may be wrecked.

python -m tests.operations.drill load              signs cases until it is killed
python -m tests.operations.drill backup TARGET     two backups, one after the other
python -m tests.operations.drill restore SOURCE    then tells, as JSON, what is there
"""

import io
import json
import sys
from typing import Any

import django


def load() -> None:
    """Sign one case after another; a line for each once it is committed."""
    from django.core.management import call_command

    from specimens.models import Job
    from tests.factories import make_cast
    from tests.interop.outbox import make_cells, reviewed_case, sign, webhook

    call_command("migrate", interactive=False, verbosity=0)
    cast, cells = make_cast(), make_cells()
    webhook(cast.site, "https://lis.invalid/")
    cells.image(cast.specimen(), state=Job.State.RUNNING)
    while True:
        report = sign(cast.pathologist, reviewed_case(cast, cells))
        print(json.dumps([report.pk, report.sha256]), flush=True)  # noqa: T201


def backup(target: str) -> None:
    from django.core.management import call_command

    for _ in range(2):
        call_command("backup", target)


def restore(source: str) -> None:
    from django.core.management import CommandError, call_command

    call_command("restore", source, stdout=io.StringIO())
    print(json.dumps(_state()))  # noqa: T201
    try:
        call_command("restore", source, stdout=io.StringIO())
    except CommandError as refusal:
        print(json.dumps(str(refusal)))  # noqa: T201


def _state() -> dict[str, Any]:
    from django.core.management import call_command
    from PIL import Image

    from specimens.models import AuditEvent, CellImage, Delivery, Job, Report
    from specimens.selectors.reports import is_intact

    verified = io.StringIO()
    call_command("verify_audit", stdout=verified)
    for image in CellImage.objects.all():
        with image.file.open() as file, Image.open(file) as opened:
            opened.load()
    return {
        "reports": [[one.pk, one.sha256] for one in Report.objects.all() if is_intact(one)],
        "verified": verified.getvalue(),
        "images": CellImage.objects.count(),
        "jobs": sorted(set(Job.objects.values_list("state", flat=True))),
        "deliveries": sorted(set(Delivery.objects.values_list("state", flat=True))),
        "held": Delivery.objects.values_list("last_error", flat=True).first(),
        "last_act": AuditEvent.objects.latest("sequence").action,
    }


if __name__ == "__main__":
    django.setup()
    globals()[sys.argv[1]](*sys.argv[2:])
