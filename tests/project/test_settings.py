"""The environment: what cannot be read stops the start, and the error says which name it is."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from wbclab.environment import env


@pytest.mark.parametrize("kind", ["int", "float", "json", "bool"])
def test_what_cannot_be_read_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_EXAMPLE", "enabled")
    with pytest.raises(ImproperlyConfigured, match="WBCLAB_EXAMPLE"):
        getattr(env, kind)("WBCLAB_EXAMPLE", default=1)


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
