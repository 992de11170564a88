"""docker-compose.yml and Dockerfile: what they promise, and that what they start works together.

No container engine is needed: the images' entry point and the services' commands, environment and
health checks are read from the two files and run as they stand, against real servers.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import counterparts
from tests.processes import die_with_parent, end, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = {name for name, service in SERVICES.items() if "build" in service}
# What .env has to hold: the file refuses to start without.
SITE = {
    "POSTGRES_PASSWORD": "not-used-here",
    "WBCLAB_SECRET_KEY": "correct-horse-battery-staple-" * 3,
    "WBCLAB_ALLOWED_HOSTS": "lab.example.org",
    "WBCLAB_CSRF_TRUSTED_ORIGINS": "https://lab.example.org",
}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def resolve(text: str, values: dict[str, str]) -> str:
    """Put values in for ${NAME}, ${NAME:-default} and ${NAME:?complaint}, as Compose does."""

    def value_of(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if values.get(name):
            return values[name]
        if kind == "?":
            raise KeyError(f"{name} {rest}")
        return rest or ""

    return VARIABLE.sub(value_of, text)


def environment_of(name: str, values: dict[str, str]) -> dict[str, str]:
    declared: dict[str, str | None] = SERVICES[name]["environment"]
    return {key: resolve(str(text), values) for key, text in declared.items() if text is not None}


def test_the_services_are_those_of_the_design() -> None:
    assert {
        "web", "worker", "gpu-worker", "sweeper", "deliverer", "dicom-listener",
        "hl7-listener", "migrate",
    } == OWN  # fmt: skip
    assert set(SERVICES) - OWN == {"postgres", "redis"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in OWN:
        assert image.startswith("wbclab")
    else:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-\w+", image), image


def test_base_image_is_pinned() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    named = {stage for _, stage in stages} | {"scratch", "${PYTHON_IMAGE}"}
    assert {base for base, _ in stages} <= named
    assert {SERVICES[name]["build"]["target"] for name in OWN} == {"app", "gpu"} < named


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_rights_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    user = service["user"].split(":")[0]
    assert user not in {"0", "root"}
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_every_lasting_service_has_a_health_check_and_comes_back(name: str) -> None:
    if name == "migrate":
        assert SERVICES[name]["restart"] == "no"
        return
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("missing", SITE)
def test_it_refuses_to_start_without_a_secret_or_name(missing: str) -> None:
    some = {name: value for name, value in SITE.items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        environment_of("web", some)


def test_the_example_environment_holds_no_value() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assignments = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert assignments == dict.fromkeys(SITE, "")


def test_the_gpu_worker_is_one_process_on_one_gpu() -> None:
    service = SERVICES["gpu-worker"]
    assert service["profiles"] == ["gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert len(device["device_ids"]) == 1


class Composition:
    """The services of the file, started as it says, on servers of our own."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._overrides = {
            "WBCLAB_DATABASE_URL": database_url,
            "WBCLAB_REDIS_URL": redis_url,
            "WBCLAB_HOME": str(folder),
            "WBCLAB_HOST": "127.0.0.1",
            "WBCLAB_PORT": str(self.port),
            "WBCLAB_PYTHON": sys.executable,
            "WBCLAB_SWEEP_SECONDS": "1",
            "WBCLAB_DICOM_HOST": "127.0.0.1",
            "WBCLAB_DICOM_PORT": str(free_port()),
            "WBCLAB_DICOM_PEERS": "SCANNER",
            "WBCLAB_LOG_FORMAT": "json",
            "WBCLAB_HL7_HOST": "127.0.0.1",
            "WBCLAB_HL7_PORT": str(free_port()),
        }

    def environment(self, name: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if "WBCLAB" not in key}
        return inherited | environment_of(name, SITE) | self._overrides

    def command(self, name: str) -> list[str]:
        (entry_point,) = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
        return [*json.loads(entry_point), *SERVICES[name]["command"]]

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name),
                cwd=ROOT,
                env=self.environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        try:
            yield process
        finally:
            end(process, signal.SIGTERM, 30)

    def is_healthy(self, name: str) -> bool:
        kind, python, *arguments = SERVICES[name]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", ".venv/bin/python")
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(name),
            capture_output=True,
            timeout=30,
        )
        return done.returncode == 0

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def events_of(self, name: str) -> list[str]:
        """What the service logged; fails where a line is no JSON object."""
        lines = (self.folder / f"{name}.log").read_text().splitlines()
        # Celery says in the signal's handler itself, where it may not log, that it stops.
        logged = [line for line in lines if line and not line.startswith("worker: Warm shutdown")]
        return [str(json.loads(line)["event"]) for line in logged]

    def is_well(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.get_health()[0] == 200
        return False

    def get_health(self) -> tuple[int, str]:
        headers = {"Host": SITE["WBCLAB_ALLOWED_HOSTS"], "X-Forwarded-Proto": "https"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", "/api/health", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture
def composition(tmp_path: Path) -> Iterator[Composition]:
    counterparts.require("postgres")
    counterparts.require("redis-server")
    with counterparts.postgres() as database, counterparts.redis() as broker:
        yield Composition(tmp_path, database.url, broker.url)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_services_start_as_written_become_healthy_and_stop(composition: Composition) -> None:
    with composition.running("migrate") as migration:
        assert migration.wait(120) == 0, composition.log_of("migrate")
    lasting = sorted(OWN - {"migrate"})
    with ExitStack() as stack:
        processes = {name: stack.enter_context(composition.running(name)) for name in lasting}
        # Asked over HTTP first: each health check is a process of its own.
        with suppress(TimeoutError):
            wait_until(composition.is_well, 90, "the web server says that all is well")
        for name in lasting:
            try:
                wait_until(partial(composition.is_healthy, name), 90, name)
            except TimeoutError:
                pytest.fail(f"{name} does not become healthy:\n{composition.log_of(name)}")
        status, body = composition.get_health()
        assert status == 200, body
        for name, process in processes.items():
            assert process.poll() is None, composition.log_of(name)
            process.send_signal(signal.SIGTERM)
        for name, process in processes.items():
            # The sweeper needs no clean-up: it ends by the signal itself.
            assert process.wait(30) in {0, -signal.SIGTERM}, composition.log_of(name)
    events = {name: composition.events_of(name) for name in lasting}
    assert {"worker is ready"} <= set(events["worker"]) & set(events["gpu-worker"])
    assert "deliverer stopped" in events["deliverer"]
