"""The environment: what cannot be read stops the start, and the error says which name it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from wbclab.environment import env


@pytest.mark.parametrize("kind", ["int", "float", "json", "bool"])
def test_what_cannot_be_read_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE", "enabled")
    with pytest.raises(ImproperlyConfigured, match="WBCLAB_EXAMPLE"):
        getattr(env, kind)("WBCLAB_EXAMPLE", default=1)


@pytest.mark.parametrize("text", ["1m", "15s", "1,5", "1.5.0"])
def test_a_number_with_something_behind_it_is_none(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE", text)
    with pytest.raises(ImproperlyConfigured, match="WBCLAB_EXAMPLE"):
        env.float("WBCLAB_EXAMPLE", default=1)
    monkeypatch.setenv("WBCLAB_EXAMPLE", "1e3")
    assert env.float("WBCLAB_EXAMPLE", default=1) == 1000


def test_what_is_wrong_with_the_address_of_a_database_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE", "postgres://user:hush/hush@host/name")
    with pytest.raises(ImproperlyConfigured, match="WBCLAB_EXAMPLE") as raised:
        env.db_url("WBCLAB_EXAMPLE", default="sqlite://")
    assert "hush" not in str(raised.value)
    monkeypatch.setenv("WBCLAB_EXAMPLE", "postgres://user:hush%2Fhush@host/name")
    assert env.db_url("WBCLAB_EXAMPLE", default="sqlite://")["PASSWORD"] == "hush/hush"


@pytest.mark.parametrize("text", ["[1]", '{"*": {"images_days": "x"}}', '{"*": 3}', '{"*": {}}'])
def test_days_to_keep_images_that_are_none_are_named(text: str) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import wbclab.settings_storage"],
        env=os.environ | {"WBCLAB_RETENTION": text},
        capture_output=True,
        text=True,
    )
    assert "ImproperlyConfigured: WBCLAB_RETENTION" in started.stderr


@pytest.mark.parametrize(
    ("text", "read"),
    [("1", True), ("Yes", True), ("on", True), ("0", False), ("No", False), ("", False)],
)
def test_yes_and_no(text: str, read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE", text)
    assert env.bool("WBCLAB_EXAMPLE", default=not read) is read
    monkeypatch.delenv("WBCLAB_EXAMPLE")
    assert env.bool("WBCLAB_EXAMPLE", default=read) is read


def test_a_file_may_hold_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE_FILE", str(tmp_path / "number"))
    (tmp_path / "number").write_text("twelve")
    with pytest.raises(ImproperlyConfigured, match="WBCLAB_EXAMPLE"):
        env.int("WBCLAB_EXAMPLE", default=1)
