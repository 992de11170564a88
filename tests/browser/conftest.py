"""A real service, and a real Chromium that watches for everything a page must not do."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from classifier.synthetic import draw_cells, save_jpeg
from tests.processes import die_with_parent, end, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
SPECIMEN = re.compile(r"/specimens/\d+$")
# The share of each class in the fifty pictures of the journey.
BLOOD = {"Neutrophil": 29, "Lymphocyte": 14, "Monocyte": 4, "Eosinophil": 2, "Basophil": 1}
expect.set_options(timeout=30_000)  # five seconds are few on a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # The first test also waits for the service to draw and classify its demo cells.
            item.add_marker(pytest.mark.timeout(300))


@dataclass(frozen=True)
class Service:
    """A running installation in demo mode: where it is and how to get in."""

    url: str
    home: Path
    passwords: dict[str, str]


def _start(home: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start it; anew where another took its port since that was looked for."""
    for _ in range(3):
        process, url = _start_once(home, log)
        _await(process, url, log)
        if process.poll() is None or "already in use" not in log.read_text():
            break
    return process, url


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    try:
        wait_until(lambda: process.poll() is not None or _is_healthy(url), 240, "a healthy service")
    except TimeoutError as late:
        end(process, signal.SIGTERM, 20)
        raise TimeoutError(f"{late}\n{log.read_text()}") from late


def _start_once(home: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
    for name in ("WBCLAB_MODEL_DIR", "WBCLAB_ENGINE"):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {"WBCLAB_HOME": str(home), "WBCLAB_DEMO": "1", "WBCLAB_PORT": str(port)}
    # Two cores are enough for everybody: the suite runs beside others.
    environment |= {"WBCLAB_DECODERS": "2", "WBCLAB_ENGINE_THREADS": "2"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    return process, f"http://127.0.0.1:{port}"


def _is_healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/api/health", timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture(scope="package")
def service() -> Iterator[Service]:
    """Serve from an empty folder, as `make run` does on a fresh machine."""
    with tempfile.TemporaryDirectory(prefix="wbclab-browser-") as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        home.mkdir()
        process, url = _start(home, log)
        try:
            assert process.poll() is None, log.read_text()
            demo = json.loads((home / "demo.json").read_text())
            people = {one["username"]: one["password"] for one in demo["accounts"]}
            yield Service(url, home, people)
            assert process.poll() is None, log.read_text()
        finally:
            end(process, signal.SIGTERM, 20)


# Package scope, unlike the plugin's own: while Playwright's loop runs in this thread, Django
# refuses to touch a database, so it has to be over before the other tests.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Watch:
    """What a page said and asked for; `forgiven` are parts of messages a test expects."""

    host: str
    complaints: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location})")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self.host:
            self.complaints.append(f"left the host: {url}")

    def unforgiven(self) -> list[str]:
        return [c for c in self.complaints if not any(part in c for part in self.forgiven)]


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    made = browser.new_context(
        base_url=service.url, viewport={"width": 1440, "height": 900}, locale="en-GB"
    )
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def watch(service: Service) -> Watch:
    return Watch(urlsplit(service.url).netloc)


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Iterator[Page]:
    """A page nobody is logged in on; whatever it complained of fails the test in the end."""
    made = context.new_page()
    watch.on(made)
    yield made
    assert watch.unforgiven() == []


LogIn = Callable[..., Page]


@pytest.fixture(scope="package")
def sessions() -> dict[str, Any]:
    """Cookies of those who have logged in once; the password hash is slow on purpose."""
    return {}


@pytest.fixture
def log_in(page: Page, service: Service, sessions: dict[str, Any]) -> LogIn:
    """Log somebody in on `page`, the technician unless named."""

    def as_person(username: str = "technician") -> Page:
        if username in sessions:
            page.context.add_cookies(sessions[username])
            page.goto("/")
            return page
        page.goto("/login")
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill(service.passwords[username])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/")
        sessions[username] = page.context.cookies()
        return page

    return as_person


@pytest.fixture
def technician(log_in: LogIn) -> Page:
    return log_in()


@pytest.fixture(scope="package")
def pictures() -> Iterator[list[Path]]:
    """Fifty drawn cells in a folder with two below it, as a microscope would leave them."""
    with tempfile.TemporaryDirectory(prefix="wbclab-cells-") as folder:
        paths = []
        for number, (_, image) in enumerate(draw_cells(seed=20, counts=BLOOD), start=1):
            path = Path(folder) / f"slide-{number % 2}" / f"cell-{number:03}.jpg"
            path.parent.mkdir(exist_ok=True)
            save_jpeg(image, path)
            paths.append(path)
        # No technician brings cells sorted by class.
        random.Random(3).shuffle(paths)
        yield paths


def accession(page: Page, **typed: Any) -> str:
    """Accession a specimen on the page; return its number."""
    page.goto("/specimens/new")
    collected = datetime.now(UTC) - timedelta(minutes=40)
    values = {
        "identifier": f"P-{os.urandom(4).hex()}",
        "family_name": "Lindqvist",
        "collected_at": f"{collected:%Y-%m-%dT%H:%M}",
    } | typed
    priority = values.pop("priority", "Routine")
    for name, value in values.items():
        control = page.locator(f"#id_{name}")
        control.select_option(value) if name == "sex" else control.fill(value)
    page.get_by_label(priority, exact=True).check()
    number = page.locator("#id_accession_number").input_value()
    page.keyboard.press("Control+Enter")
    page.wait_for_url(SPECIMEN)
    return number
