"""docs/integration.md, section HL7: its commands and its sender, run as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from specimens.interop.hl7.channel import _SETTINGS
from specimens.interop.hl7.charsets import CODECS
from specimens.interop.hl7.orders import CANCEL, CHANGE, NEW, SUPPORTED
from specimens.management.commands.hl7_listener import Command
from specimens.models import Destination, Site
from tests.factories import Cast
from tests.interop.hl7_listener import make_home, running_listener

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "integration.md").read_text()
SECTION = TEXT.partition("\n## HL7\n")[2].partition("\n## FHIR")[0]


def _block(name: str) -> str:
    found = re.search(rf"<!-- run: {name} -->\n *```\w+\n(.*?)\n *```", SECTION, re.DOTALL)
    assert found, name
    return re.sub(r"^   ", "", found[1], flags=re.MULTILINE)


def _arguments(block: str) -> list[str]:
    return shlex.split(block.replace("\\\n", " "))[2:]


def test_the_sender_of_the_document_gets_its_order_in(tmp_path: Path) -> None:
    command, *options = _arguments(_block("listener"))
    assert command == "hl7_listener"
    assert Command().create_parser("manage.py", command).parse_args(options).site == "demo"
    script = tmp_path / "sender.py"
    script.write_text(_block("sender"))
    with running_listener(make_home(tmp_path / "home")) as listener:
        sent = subprocess.run(
            [sys.executable, str(script), "127.0.0.1", str(listener.port)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "MSA|AA|EX-1" in sent.stdout
        numbers = listener.rows("SELECT accession_number, state FROM specimens_specimen")
        assert numbers == [("26-0001", "accessioned")]


@pytest.mark.django_db
def test_the_destination_of_the_document_is_entered(cast: Cast) -> None:
    Site.objects.filter(pk=cast.site.pk).update(code="demo")
    call_command(*_arguments(_block("destination")))
    destination = Destination.objects.get()
    assert (destination.kind, destination.address) == ("hl7", "his.example.org:2575")
    assert destination.settings == {"receiving_application": "HIS"}


def test_every_setting_message_and_character_set_is_named() -> None:
    prose = re.sub(r"```.*?```", "", SECTION, flags=re.DOTALL)
    words = set(re.findall(r"`([^`\n]+)`", prose))
    assert words >= _SETTINGS
    assert words >= set(SUPPORTED)
    assert words >= {*NEW, *CHANGE, *CANCEL}
    for name in ("ASCII", "8859/15", "UNICODE UTF-8"):
        assert name in CODECS
        assert name in SECTION
