"""Adds up pytest's result files: python -m tests.summary FOLDER. Fails where no test ran."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# Written by our own pytest a moment ago, so there is nothing hostile to defend against.
from xml.etree import ElementTree


def count(files: Iterable[Path]) -> Counter[str]:
    """How many tests passed, failed (errors included) and were skipped."""
    total: Counter[str] = Counter()
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"}:
                total["failed"] += 1
            elif "skipped" in outcomes:
                total["skipped"] += 1
            else:
                total["passed"] += 1
    return total


def main(folder: str) -> int:
    files = sorted(Path(folder).glob("*.xml"))
    total = count(files)
    print(
        f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped",
        flush=True,
    )
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
