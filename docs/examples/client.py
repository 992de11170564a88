"""A small typed client of wbclab's REST v1, to copy and change. Needs Python 3.11 and httpx.

    python docs/examples/client.py http://127.0.0.1:8000 "$TOKEN" cell_1.jpg cell_2.jpg

accessions a specimen for a new order, sends the images, waits for the model and prints what it
says of each cell.
"""

import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

TRIES = 5
BUSY = (429, 503)


class Problem(Exception):
    """An error as the service tells it (RFC 9457); `code` is for programs, the text for people."""

    def __init__(self, status: int, code: str, detail: str, fields: Mapping[str, str]) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.fields = status, code, dict(fields)


@dataclass(frozen=True, slots=True)
class Patient:
    identifier: str
    family_name: str
    given_name: str = ""
    birth_date: str | None = None
    sex: str = "U"


@dataclass(frozen=True, slots=True)
class Specimen:
    """`etag` proves which version was read; a change has to name it."""

    id: int
    accession_number: str
    state: str
    images: Mapping[str, int]
    etag: str


@dataclass(frozen=True, slots=True)
class Cell:
    id: int
    filename: str
    state: str
    decision: str | None
    confidence: float | None
    label: str


class Laboratory:
    """The service at `url`, called with a token.

    A create is sent under an Idempotency-Key, so that sending it again after a broken connection
    cannot do it twice. Where the service is busy, the client waits as long as it says.
    """

    def __init__(self, url: str, token: str, timeout: float = 30) -> None:
        headers = {"Authorization": f"Token {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def place_order(self, patient: Patient, **details: str) -> int:
        """Place an order (placer_number, priority, requester, ...); return its number."""
        body = {"patient": {name: getattr(patient, name) for name in Patient.__slots__}}
        return int(self._create("/api/v1/orders", json=body | details).json()["id"])

    def accession(self, accession_number: str, order: int) -> Specimen:
        """Accession the specimen of an order."""
        body = {"accession_number": accession_number, "order": order}
        return self._specimen(self._create("/api/v1/specimens", json=body))

    def specimen(self, number: int) -> Specimen:
        """Read a specimen."""
        return self._specimen(self._send("GET", f"/api/v1/specimens/{number}"))

    def set_wbc_count(self, specimen: Specimen, count: str) -> Specimen:
        """Give the analyser's count (10^9/L); a Problem 412 if somebody changed the specimen."""
        path, headers = f"/api/v1/specimens/{specimen.id}", {"If-Match": specimen.etag}
        answer = self._send("PATCH", path, json={"wbc_count": count}, headers=headers)
        return self._specimen(answer)

    def add_images(self, specimen: Specimen, images: list[Path]) -> dict[str, str]:
        """Send images, ten in a call; return what became of each file."""
        found = {}
        for start in range(0, len(images), 10):
            batch = images[start : start + 10]
            files = [("images", (path.name, path.read_bytes())) for path in batch]
            answer = self._create(f"/api/v1/specimens/{specimen.id}/cells", files=files)
            for line in answer.json()["received"]:
                found[line["filename"]] = line["message"] or line["status"]
        return found

    def wait(self, specimen: Specimen, seconds: float = 120) -> Specimen:
        """Wait until no image of the specimen waits for the model any more."""
        deadline = time.monotonic() + seconds
        while (now := self.specimen(specimen.id)).images["waiting"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{now.images['waiting']} images are not classified yet")
            time.sleep(0.5)
        return now

    def cells(self, specimen: Specimen) -> Iterator[Cell]:
        """Go through the cells of a specimen, page after page."""
        for row in self._pages(f"/api/v1/specimens/{specimen.id}/cells"):
            said = row["prediction"] or {}
            yield Cell(
                row["id"],
                row["filename"],
                row["state"],
                said.get("decision"),
                said.get("confidence"),
                row["label"],
            )

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        address: str | None = path
        while address:
            body = self._send("GET", address).json()
            yield from body["results"]
            address = body["next"]

    def _create(self, path: str, **content: Any) -> httpx.Response:
        return self._send("POST", path, headers={"Idempotency-Key": str(uuid.uuid4())}, **content)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._http.request(method, path, **content)
            except httpx.TransportError:
                if attempt == TRIES:
                    raise
                time.sleep(2**attempt / 4)
                continue
            if answer.status_code not in BUSY or attempt == TRIES:
                break
            time.sleep(float(answer.headers.get("Retry-After", attempt)))
        if answer.is_error:
            body = answer.json()
            raise Problem(answer.status_code, body["code"], body["detail"], body.get("fields", {}))
        return answer

    @staticmethod
    def _specimen(answer: httpx.Response) -> Specimen:
        body = answer.json()
        return Specimen(
            body["id"],
            body["accession_number"],
            body["state"],
            body["images"],
            answer.headers["ETag"],
        )


def main(url: str, token: str, *images: str) -> None:
    """Take one specimen through the laboratory, up to where people review it."""
    with Laboratory(url, token) as laboratory:
        order = laboratory.place_order(Patient("P-2026-7", "Muster", "Erika"), requester="Ward 3")
        specimen = laboratory.accession(f"EX-{uuid.uuid4().hex[:8]}", order)
        specimen = laboratory.set_wbc_count(specimen, "7.2")
        for name, outcome in laboratory.add_images(specimen, [Path(i) for i in images]).items():
            sys.stdout.write(f"{name}: {outcome}\n")
        specimen = laboratory.wait(specimen)
        sys.stdout.write(f"{specimen.accession_number} is {specimen.state}\n")
        for cell in laboratory.cells(specimen):
            sys.stdout.write(f"{cell.filename}: {cell.decision} ({cell.confidence:.3f})\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
