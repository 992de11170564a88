"""Writes docs/licences.md: what is installed beside wbclab, and under which licence.

    .venv/bin/python scripts/licences.py          (make licences)

Names come from the lock files, licences from what the packages say of themselves. A licence that is
not in ALLOWED stops it: somebody has to look.
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
# Whatever the machine: the page is the same on each.
REFERENCE = {
    "python_version": "3.11",
    "python_full_version": "3.11.15",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
}
USES = {"serve": "serving", "train": "training", "test": "tests only"}
# Permissive, or copyleft that ends at the package's own files (MPL) or library (LGPL): wbclab is
# MIT, imports these unchanged, and passes none of them on in its own repository.
ALLOWED = re.compile(
    r"MIT(-CMU|-0)?|HPND|BSD(-[23]-Clause)?|0BSD|Apache-2\.0|ISC|Unlicense|PSF-2\.0|Python-2\.0|Zlib|"
    r"CC0-1\.0|Artistic-1\.0-Perl|MPL-2\.0|LGPL-(2\.1|3\.0)(-only|-or-later)?|CNRI-Python"
)
# Words of older packages, as SPDX names them.
_WORDS = {
    "MIT License": "MIT",
    "The MIT License": "MIT",
    "MIT license": "MIT",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD-3": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "PSFL": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "LGPL with exceptions": "LGPL-3.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Packages that say nothing a program understands; read in their licence files.
_READ = {
    "axe-playwright-python": "MIT",
    "namex": "Apache-2.0",
    "text-unidecode": "Artistic-1.0-Perl OR GPL-2.0-or-later",
}


def packages() -> dict[str, str]:
    """Return what is locked for REFERENCE, by name, with the smallest of its uses."""
    found: dict[str, str] = {}
    for lock, use in USES.items():
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        for line in re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==[^\\\n]+", text, flags=re.MULTILINE):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate(dict(REFERENCE)):
                found.setdefault(one.name.lower().replace("_", "-"), use)
    return dict(sorted(found.items()))


def licence_of(name: str) -> str:
    """Return the licence of an installed package as an SPDX expression; empty where unclear."""
    if name in _READ:
        return _READ[name]
    said: PackageMetadata = metadata(name)
    if "License-Expression" in said:
        return said["License-Expression"]
    classified = [
        line.rsplit(" :: ", 1)[1]
        for line in said.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved ::")
    ]
    field = str(said.json.get("license", "")).strip()
    words = [_WORDS.get(one, one) for one in classified] or [_WORDS.get(field, field)]
    return " OR ".join(sorted(set(words))) if all("\n" not in one for one in words) else ""


def is_allowed(expression: str) -> bool:
    """Tell whether every licence of the expression is, or for OR at least one."""
    return bool(expression) and all(
        any(ALLOWED.fullmatch(one.strip(" ()")) for one in part.split(" OR "))
        for part in re.sub(r"\s+WITH\s+[\w.-]+", "", expression).split(" AND ")
    )


def page() -> str:
    """Return docs/licences.md. Raises SystemExit for a licence somebody has to look at."""
    rows, unclear = [], []
    for name, use in packages().items():
        try:
            licence = licence_of(name)
        except PackageNotFoundError:
            continue  # of another platform
        if not is_allowed(licence):
            unclear.append(f"{name}: {licence or 'says nothing'}")
        rows.append(f"| {name} | {licence} | {use} |")
    if unclear:
        raise SystemExit("Look at these licences (scripts/licences.py):\n" + "\n".join(unclear))
    return "\n".join([_HEAD, *rows, ""])


_HEAD = """# Licences of what is installed beside wbclab

wbclab itself is under MIT ([LICENSE](../LICENSE)); what its repository contains of others stands in
[NOTICE](../NOTICE) and `LICENSES/`. The packages below are installed from the lock files and are no
part of the repository. Written by `make licences`; a test holds it against the lock files and
against what the packages say of themselves.

Taken are permissive licences (MIT, BSD, Apache-2.0, ISC, PSF, HPND and the like) and copyleft that
ends at the package's own files or library (MPL-2.0, LGPL). They are imported unchanged, so nothing
of wbclab falls under them; who passes on an image with them in it passes on their licence texts,
which lie in the packages. GPL and AGPL are refused. The GPU image adds NVIDIA's CUDA libraries,
under NVIDIA's own licence (`requirements/gpu.txt`).

| package | licence | installed for |
|---|---|---|"""


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {len(packages())} packages\n")
