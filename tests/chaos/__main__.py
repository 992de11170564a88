"""Run the chaos suite: python -m tests.chaos [--seed N] [--minutes M] [--faults NAME,NAME]

Ends with 0 when every invariant held. The log is build/chaos/SEED.log, one JSON object a line.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Final, NoReturn

from tests.chaos.faults import FAULTS
from tests.chaos.journal import Journal
from tests.chaos.laboratory import ROLES
from tests.chaos.run import ROOT, Outcome, Plan, execute
from tests.processes import adopt_orphans, reap

_OWN_MOUNTS: Final = "CHAOS_HAS_MOUNTS_OF_ITS_OWN"
FOLDER: Final = ROOT / "build" / "chaos"


def _into_own_mounts() -> None:
    """Go on in a mount namespace of our own: what is mounted there ends with us, however we end."""
    if _OWN_MOUNTS in os.environ or os.getuid() != 0 or not shutil.which("unshare"):
        return
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        os.environ[_OWN_MOUNTS] = "1"
        os.execvp("unshare", [*unshare, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])  # noqa: S606


def _plan(arguments: list[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--minutes", type=float, default=6.0, help="of load; at most 8")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, with commas")
    parser.add_argument("--clients", type=int, default=3, help="that take cases through")
    parser.add_argument("--services", default=",".join(ROLES), help="names, with commas")
    parser.add_argument("--pauses", default="1,5", help="least and most seconds between faults")
    given = parser.parse_args(arguments)
    names = given.faults.split(",")
    if unknown := set(names) - set(FAULTS):
        parser.error(f"unknown faults {sorted(unknown)}; known: {', '.join(FAULTS)}")
    least, most = map(float, given.pauses.split(","))
    seconds = 60 * min(8.0, given.minutes)
    services = given.services.split(",")
    return Plan(given.seed, seconds, names, given.clients, services, (least, most))


def _summary(outcome: Outcome) -> str:
    lines = ["fault | times", "--- | ---"]
    lines += [f"{name} | {n}" for name, n in sorted(outcome.struck.items())]
    lines += [f"{name} | left out: {why}" for name, why in sorted(outcome.left_out.items())]
    lines += ["", "figure | value", "--- | ---"]
    lines += [f"{name} | {value}" for name, value in outcome.figures.items()]
    lines += ["", *(f"WRONG: {fault}" for fault in outcome.faults[:40])]
    return "\n".join([*lines, "PASSED" if not outcome.faults else "FAILED"])


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    plan = _plan(arguments)
    _into_own_mounts()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    adopt_orphans()
    journal = Journal(FOLDER / f"{plan.seed}.log", aloud=True)
    try:
        outcome = execute(plan, journal, FOLDER / f"{plan.seed}-processes")
    finally:
        reap()
    summary = _summary(outcome)
    (FOLDER / f"{plan.seed}.txt").write_text(summary + "\n")
    journal.write("end", passed=not outcome.faults, wrong=outcome.faults[:100], **{
        name: json.loads(json.dumps(value, default=str)) for name, value in outcome.figures.items()
    })  # fmt: skip
    sys.stdout.write(summary + "\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
