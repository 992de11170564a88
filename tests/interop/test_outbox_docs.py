"""docs/integration.md: its receiver and its commands, run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from specimens.interop.channels import PermanentFailure
from specimens.interop.webhooks import CHANNELS, KNOWN
from specimens.models import Destination
from tests.factories import Cast
from tests.interop.receivers import SECRET
from tests.processes import die_with_parent, free_port, wait_until

pytestmark = [pytest.mark.core, pytest.mark.django_db]

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "integration.md").read_text()


def _block(name: str) -> str:
    """Return the code below the comment that marks it as run."""
    found = re.search(rf"<!-- run: {name} -->\n *```\w+\n(.*?)\n *```", TEXT, re.DOTALL)
    assert found, name
    return found[1]


class Receiver:
    """The receiver of the document, as a process."""

    def __init__(self, folder: Path) -> None:
        (folder / "receiver.py").write_text(_block("receiver"))
        self.port = free_port()
        self.out = folder / "out.txt"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "receiver.py"],
                cwd=folder,
                env=os.environ | {"WEBHOOK_SECRET": SECRET, "PORT": str(self.port)},
                stdout=out,
                stderr=subprocess.DEVNULL,
                preexec_fn=die_with_parent(),
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def receiver(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv("WBCLAB_DELIVERY_LIS", SECRET)
    found = Receiver(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()


def _command(receiver: Receiver) -> list[str]:
    """Return the arguments of the documented command, with the port of this test."""
    text = _block("add").replace("\\\n", " ").replace("http://127.0.0.1:9000/", receiver.url)
    python, manage, *arguments = shlex.split(text)
    assert (python, manage) == ("python", "manage.py")
    return arguments


def test_the_documented_receiver_takes_what_the_documented_command_sends(
    cast: Cast, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    command = _command(receiver)

    def succeeds() -> bool:
        Destination.objects.all().delete()
        try:
            call_command(*command)
        except CommandError as error:  # it has not opened its port yet
            assert "cannot be reached" in str(error)
            return False
        return True

    wait_until(succeeds, 30, "the receiver answers")
    assert "LIS is entered." in capsys.readouterr().out
    assert receiver.out.read_text() == "test \n"
    assert Destination.objects.get().settings == {"secret_env": "WBCLAB_DELIVERY_LIS"}


def test_the_documented_receiver_turns_a_wrong_signature_away(
    cast: Cast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"secret_env": "WBCLAB_DELIVERY_LIS"}
    (channel,) = CHANNELS

    def is_there() -> bool:
        try:
            channel.probe(receiver.url, settings)
        except PermanentFailure:
            raise
        except Exception:
            return False
        return True

    wait_until(is_there, 30, "the receiver answers")
    monkeypatch.setenv("WBCLAB_DELIVERY_LIS", SECRET[::-1])
    with pytest.raises(PermanentFailure, match="answered 401"):
        channel.probe(receiver.url, settings)


def test_the_settings_are_those_of_the_channel() -> None:
    section = TEXT.partition("\n## Webhooks\n")[2].partition("\n## ")[0]
    table = section.partition("| setting |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in
             re.findall(r"`(\w+)`", row.split("|")[1])}  # fmt: skip
    assert named == KNOWN


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (["--actor", "nobody"], "no account nobody"),
        (["--actor", "technician"], "does not permit"),
        (["--site", "other"], "belongs to no site"),
        (["--setting", "secret_env"], "write NAME=VALUE"),
        (["--setting", "secret_env=HOME"], "must begin with WBCLAB_DELIVERY_"),
    ],
)
def test_what_the_command_cannot_do_is_said(
    changed: list[str], text: str, cast: Cast, receiver: Receiver
) -> None:
    with pytest.raises(CommandError, match=text):
        call_command(*_command(receiver), *changed)
    assert not Destination.objects.exists()
