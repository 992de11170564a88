"""docs/integration.md, section FHIR: its commands, run as they stand there, and its lists."""

import re
import shutil
import subprocess
from dataclasses import fields
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from specimens.interop.fhir.channel import KNOWN
from specimens.interop.fhir.naming import Systems
from specimens.interop.fhir.wire import from_json
from specimens.models import Destination
from specimens.services.tokens import create_token
from tests.factories import Cast
from tests.interop.fhir_laboratory import checked, make_laboratory, names

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "integration.md").read_text()
SECTION = TEXT.partition("\n## FHIR\n")[2].partition("\n## ")[0]


def _block(name: str) -> str:
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)\n```", SECTION, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.postgres  # SQLite's tables of signed reports cannot be emptied afterwards
@pytest.mark.django_db(transaction=True)
def test_the_client_of_ten_minutes(cast: Cast, live_server: Any, tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is needed"
    lab = make_laboratory(cast)
    token, _ = create_token(actor=None, user=cast.integration, lifetime=timedelta(days=1))
    # Each answer on lines of its own.
    script = _block("fhir-client").replace('"$@"; }', '"$@"; echo; }')
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={"BASE": f"{live_server.url}/fhir", "TOKEN": token, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    patient, order, orders, reports = (
        checked(from_json(line)) for line in done.stdout.splitlines() if line
    )
    assert patient["name"][0]["given"] == ["Zoë"]
    assert order["status"] == "active"
    assert names(orders) == [f"ServiceRequest/{order['id']}"]
    assert set(names(reports)) == {
        f"DiagnosticReport/{lab.signed.pk}", f"DiagnosticReport/{lab.amended.pk}",
    }  # fmt: skip
    brought = {name.split("/")[0] for name in names(reports, "include")}
    assert brought == {"Patient", "Provenance"}


@pytest.mark.core
@pytest.mark.django_db
def test_the_destination(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_DELIVERY_EHR_TOKEN", "a-token")
    words = _block("fhir-destination").replace("\\\n", " ").split()[2:]
    call_command(*words, stdout=StringIO())
    made = Destination.objects.get(name="EHR")
    assert made.settings == {"token_env": "WBCLAB_DELIVERY_EHR_TOKEN"}


@pytest.mark.core
def test_settings_systems_and_resources_are_all_named() -> None:
    text = re.sub(r"```.*?```", "", SECTION, flags=re.DOTALL)
    words = set(re.findall(r"`([^`]+)`", text))
    assert words >= KNOWN
    in_brackets = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"\((`[^)]+)\)", text))))
    constant = {"organization", "practitioner", "model", "message"}
    assert {field.name for field in fields(Systems)} - constant <= in_brackets
    for uri in (getattr(Systems(), name) for name in constant):
        assert uri in words
