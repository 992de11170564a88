"""People and programs at work: cases from the order to the signature, predict calls, pages."""

import hashlib
import io
import random
import re
import threading
import time
import uuid
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx

from classifier.synthetic import draw_cells, save_jpeg
from tests.chaos.ledger import Ledger, code_of

# How long a person tries before turning to the next case, and waits for the model, in seconds.
PATIENCE: Final = 25.0
PASSWORD: Final = "correct horse battery"
_KINDS: Final = {"Neutrophil": 6, "Lymphocyte": 4, "Monocyte": 2}


@dataclass(frozen=True)
class Entrance:
    """How to come in: where the platform is, and the tokens of people by their user name."""

    url: str
    tokens: dict[str, str]


class Abandoned(Exception):
    """Whoever tried has given up; what became of the last request is not known."""


class Pictures:
    """Drawn cells, each file of another content: a comment in it holds a number."""

    def __init__(self, seed: int) -> None:
        self._numbers = count()
        self._drawn = []
        for _, image in draw_cells(seed, _KINDS):
            content = io.BytesIO()
            save_jpeg(image, content)
            self._drawn.append(content.getvalue())

    def next(self) -> bytes:
        """A JPEG nobody has seen before."""
        number = next(self._numbers)
        drawn, text = self._drawn[number % len(self._drawn)], f"chaos {number}".encode()
        return drawn[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text + drawn[2:]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Client(threading.Thread):
    """One who sends until told to stop. `work` is one round; giving up ends only the round."""

    pause = 0.0

    def __init__(self, entrance: Entrance, ledger: Ledger, pictures: Pictures, seed: int) -> None:
        super().__init__(name=f"{type(self).__name__}-{seed}", daemon=True)
        self.entrance, self.ledger, self.pictures = entrance, ledger, pictures
        self.random = random.Random(seed)
        self.seed = seed
        self.stopping = threading.Event()
        self.rounds = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.work()
                self.rounds += 1
            except Abandoned as reason:
                self.ledger.count(f"given up: {reason}")
            except Exception as error:
                self.ledger.offence(f"{self.name}: {type(error).__name__}: {error}")
            self.stopping.wait(self.pause)

    def work(self) -> None:
        raise NotImplementedError

    def http(self, person: str) -> httpx.Client:
        headers = {"Authorization": f"Token {self.entrance.tokens[person]}"}
        return httpx.Client(
            base_url=self.entrance.url, headers=headers, timeout=20, trust_env=False
        )

    def ask(
        self, http: httpx.Client, what: str, method: str, path: str, **content: Any
    ) -> httpx.Response:
        """Ask until there is an answer that is final; a create is repeated under one key."""
        if method == "POST":
            content["headers"] = {"Idempotency-Key": str(uuid.uuid4())}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                response = http.request(method, path, **content)
            except httpx.HTTPError as error:
                self.ledger.count(f"{what} {type(error).__name__}")
                time.sleep(0.3)
                continue
            self.ledger.answer(what, response)
            if response.is_success:
                return response
            if response.status_code in (429, 503, 507) or code_of(response) == "still_running":
                time.sleep(min(2.0, float(response.headers.get("Retry-After", 1))))
                continue
            raise Abandoned(f"{what} {response.status_code} {code_of(response)}")
        raise Abandoned(f"{what} within {PATIENCE:g} s")


class CaseClient(Client):
    """Takes cases through the laboratory: order, specimen, images, review, signature, amendment."""

    pause = 0.1
    cells = (5, 10)

    def work(self) -> None:
        accession_number = f"C{self.seed}-{uuid.uuid4().hex[:8]}"
        with self.http("technician") as technician, self.http("pathologist") as pathologist:
            specimen = self._accession(technician, accession_number)
            self._add_images(technician, specimen)
            self._wait_for_model(technician, specimen)
            self._review(technician, specimen)
            self._sign(pathologist, specimen)
            if self.random.random() < 0.3:
                body = {"reason": "Looked again.", "password": PASSWORD}
                path = f"/api/v1/specimens/{specimen}/amendments"
                self.ask(pathologist, "amend", "POST", path, json=body)
                self._sign(pathologist, specimen)

    def _accession(self, http: httpx.Client, accession_number: str) -> int:
        patient = {"identifier": accession_number, "family_name": "Chaos"}
        priority = self.random.choice(["stat", "routine", "routine"])
        order = self.ask(
            http, "order", "POST", "/api/v1/orders", json={"patient": patient, "priority": priority}
        ).json()["id"]
        body = {"accession_number": accession_number, "order": order}
        return int(self.ask(http, "specimen", "POST", "/api/v1/specimens", json=body).json()["id"])

    def _add_images(self, http: httpx.Client, specimen: int) -> None:
        contents = [self.pictures.next() for _ in range(self.random.randint(*self.cells))]
        files = [("images", (f"{n}.jpg", content)) for n, content in enumerate(contents)]
        asked_at = time.monotonic()
        path = f"/api/v1/specimens/{specimen}/cells"
        received = self.ask(http, "images", "POST", path, files=files).json()["received"]
        taken = [digest(c) for c, line in zip(contents, received, strict=True) if _is_here(line)]
        self.ledger.promise("image", taken, asked_at)
        if len(taken) != len(contents):
            self.ledger.offence(f"images refused: {received}")

    def _wait_for_model(self, http: httpx.Client, specimen: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self.stopping.is_set():
            found = self.ask(http, "look", "GET", f"/api/v1/specimens/{specimen}").json()
            # The specimen moves on behind the last result; if the worker dies between them, a sweep
            # later.
            if not found["images"]["waiting"] and found["state"] != "imaged":
                return
            time.sleep(0.3)
        raise Abandoned("waited for the model")

    def _review(self, http: httpx.Client, specimen: int) -> None:
        listed = self.ask(http, "cells", "GET", f"/api/v1/specimens/{specimen}/cells").json()
        decisions = [
            {"cell": cell["id"], "label": "neutrophil", "revision": cell["revision"]}
            for cell in listed["results"]
        ]
        path = f"/api/v1/specimens/{specimen}/reviews"
        self.ask(http, "review", "POST", path, json={"decisions": decisions})

    def _sign(self, http: httpx.Client, specimen: int) -> None:
        path = f"/api/v1/specimens/{specimen}/sign-out"
        gate = self.ask(http, "gate", "GET", path).json()
        asked_at = time.monotonic()
        body = {"password": PASSWORD, "seen_revision": gate["revision"]}
        signed = self.ask(http, "sign", "POST", path, json=body).json()
        self.ledger.promise("report", [signed["sha256"]], asked_at)


def _is_here(line: dict[str, Any]) -> bool:
    return line["status"] in ("accepted", "duplicate")


class PredictClient(Client):
    """Sends single images and waits for their class."""

    pause = 0.15

    def work(self) -> None:
        content = self.pictures.next()
        with self.http("integration") as http:
            asked_at = time.monotonic()
            try:
                response = http.post("/api/predict", files={"file": ("cell.jpg", content)})
            except httpx.HTTPError as error:
                self.ledger.count(f"predict {type(error).__name__}")
                time.sleep(0.5)
                return
            self.ledger.answer("predict", response)
            if response.is_success:
                self.ledger.promise("image", [digest(content)], asked_at)


class PageReader(Client):
    """Signs in and looks at pages, as a person with a browser does."""

    pause = 0.4

    def work(self) -> None:
        with httpx.Client(
            base_url=self.entrance.url, timeout=20, trust_env=False, follow_redirects=True
        ) as http:
            try:
                if self._sign_in(http):
                    for _ in range(10):
                        path = self.random.choice(["/", "/api/health", "/?state=preclassified"])
                        self._look(http, path)
                        if self.stopping.wait(self.pause):
                            return
            except httpx.HTTPError as error:
                self.ledger.count(f"page {type(error).__name__}")
                time.sleep(0.5)

    def _sign_in(self, http: httpx.Client) -> bool:
        page = self._look(http, "/login")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if token is None:
            return False
        form = {"csrfmiddlewaretoken": token[1], "username": "technician", "password": PASSWORD}
        answer = http.post("/login", data=form, headers={"Referer": self.entrance.url})
        self.ledger.answer("page", answer)
        return answer.is_success

    def _look(self, http: httpx.Client, path: str) -> httpx.Response:
        response = http.get(path)
        if path == "/api/health":
            self.ledger.count(f"health {response.status_code}")
            if "json" not in response.headers["Content-Type"]:
                self.ledger.offence(f"health: {response.status_code} is no JSON")
        else:
            self.ledger.answer("page", response)
        return response
