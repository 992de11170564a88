"""A small FHIR server as a process of its own: takes transactions, keeps resources by identifier.

    python -m tests.interop.fhir_receiver PORT FOLDER

Each transaction is validated with fhir.resources, then applied as R4 says (conditional create and
update, references rewritten) and written to FOLDER/state.json before the answer goes out. What is
in FOLDER/answer.json ({"status": 503, ...}) is answered instead, once for each entry of its list.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

TOKEN = "Bearer receiver-token"
CAPABILITIES = {
    "resourceType": "CapabilityStatement", "status": "active", "date": "2026-11-23",
    "kind": "instance", "fhirVersion": "4.0.1", "format": ["json"],
    "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
}  # fmt: skip


class Store:
    """Resources by type and id; `transactions` are the request ids that came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resources: dict[str, dict[str, Any]] = {}
        self.transactions: list[str] = []

    def apply(self, bundle: dict[str, Any], request_id: str) -> dict[str, Any]:
        """All entries or none; the names of new resources are known before any is written."""
        get_fhir_model_class("Bundle").model_validate(bundle)
        assert bundle["type"] == "transaction"
        plan = [(entry, *self._target(entry)) for entry in bundle["entry"]]
        urls = {entry["fullUrl"]: name for entry, name, _ in plan}
        for entry, name, writes in plan:
            if writes:
                kind, _, ident = name.partition("/")
                resource = _renamed(entry["resource"], urls) | {"id": ident}
                get_fhir_model_class(kind).model_validate(resource)
                version = self.resources.get(name, {}).get("version", 0) + 1
                self.resources[name] = {"version": version, "resource": resource}
        self.transactions.append(request_id)
        state = {"resources": self.resources, "transactions": self.transactions}
        temporary = self.folder / "state.new"
        temporary.write_text(json.dumps(state))
        temporary.replace(self.folder / "state.json")
        answers = [{"response": {"status": "200"}} for _ in plan]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _target(self, entry: dict[str, Any]) -> tuple[str, bool]:
        """Name and whether it is written: a conditional create leaves what is there."""
        request, kind = entry["request"], entry["resource"]["resourceType"]
        if request["method"] == "POST":
            found = self._matching(kind, request["ifNoneExist"])
            return (found, False) if found else (self._new(kind), True)
        kind, _, query = request["url"].partition("?")
        if not query:
            return kind, True  # PUT Type/id
        return self._matching(kind, query) or self._new(kind), True

    def _matching(self, kind: str, query: str) -> str:
        system, _, value = parse_qs(query)["identifier"][0].partition("|")
        found = [
            name
            for name, kept in self.resources.items()
            if name.startswith(f"{kind}/")
            for one in kept["resource"].get("identifier", [])
            if (one.get("system"), one["value"]) == (system, value)
        ]
        assert len(set(found)) <= 1, f"several match {unquote(query)}: {found}"
        return found[0] if found else ""

    def _new(self, kind: str) -> str:
        self.counter = getattr(self, "counter", 0) + 1
        return f"{kind}/r{self.counter}"


def _renamed(value: Any, urls: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, urls) for item in value]
    if isinstance(value, dict):
        return {key: _renamed(item, urls) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("urn:uuid:"):
        return urls[value]  # a reference to what is not in the bundle fails here
    return value


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, folder: Path) -> None:
        self.store = Store(folder)
        self.folder = folder
        super().__init__(("127.0.0.1", port), _Request)


class _Request(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200, CAPABILITIES)

    def do_DELETE(self) -> None:
        """Forget everything."""
        self.server.store = Store(self.server.folder)
        (self.server.folder / "state.json").unlink(missing_ok=True)
        self._answer(204, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        prepared = self.server.folder / "answer.json"
        answers = json.loads(prepared.read_text()) if prepared.exists() else []
        if answers:
            prepared.write_text(json.dumps(answers[1:]))
            self._answer(answers[0]["status"], answers[0]["body"])
        elif self.headers["Authorization"] != TOKEN:
            self._answer(401, _outcome("No such token."))
        elif self.path != "/fhir" or self.headers["Content-Type"] != "application/fhir+json":
            self._answer(404, _outcome(f"Nothing at {self.path}."))
        else:
            self._apply(json.loads(body))

    def _apply(self, bundle: dict[str, Any]) -> None:
        try:
            answer = self.server.store.apply(bundle, self.headers["X-Request-Id"])
        except (ValidationError, AssertionError, KeyError) as error:
            self._answer(422, _outcome(f"{type(error).__name__}: {error}"))
        else:
            self._answer(200, answer)

    def _answer(self, status: int, body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _outcome(text: str) -> dict[str, Any]:
    issue = {"severity": "error", "code": "processing", "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


if __name__ == "__main__":
    Server(int(sys.argv[1]), Path(sys.argv[2])).serve_forever()
