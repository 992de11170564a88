"""A real PACS for the tests: Orthanc with its DICOMweb plug-in, throw-away, on free ports."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.counterparts import Server, find, require, temporary_folder
from tests.processes import free_port

AE_TITLE = "ORTHANC"
PLUGINS = (
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/lib/orthanc/libOrthancDicomWeb.so"),
)


class Orthanc(Server):
    """HTTP on `port`, DICOM on `dicom_port`; `settings` go over its configuration."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder)
        self.dicom_port = free_port()
        self.settings = settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def web_url(self) -> str:
        """The root of its DICOMweb services."""
        return f"{self.url}/dicom-web"

    @property
    def dicom_address(self) -> str:
        return f"127.0.0.1:{self.dicom_port}"

    def _command(self) -> list[str]:
        configuration: dict[str, Any] = {
            "Name": "tests",
            "HttpPort": self.port,
            "DicomPort": self.dicom_port,
            "DicomAet": AE_TITLE,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "DicomCheckCalledAet": True,
            "Plugins": [str(path) for path in PLUGINS if path.is_file()],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration | self.settings))
        return [str(find("Orthanc")), str(path)]

    def _is_ready(self) -> bool:
        try:
            users = self.settings.get("RegisteredUsers", {})
            answer = httpx.get(
                f"{self.url}/system",
                timeout=5,
                trust_env=False,
                auth=next(iter(users.items()), None),
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["DicomPort"] == self.dicom_port

    def get(self, path: str) -> Any:
        """What its REST interface answers, read as JSON."""
        answer = httpx.get(f"{self.url}{path}", timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """Post JSON to its REST interface; the answer read as JSON."""
        answer = httpx.post(f"{self.url}{path}", json=body, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def put(self, path: str, body: Any) -> None:
        """Put JSON to its REST interface, for example a modality."""
        answer = httpx.put(f"{self.url}{path}", json=body, timeout=30, trust_env=False)
        answer.raise_for_status()

    def file(self, instance: str) -> bytes:
        """The Part 10 file of one of its instances, by Orthanc's own id."""
        answer = httpx.get(f"{self.url}/instances/{instance}/file", timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.content


@contextmanager
def orthanc(**settings: Any) -> Iterator[Orthanc]:
    """A running Orthanc; skips (fails with CI=true) where it is not installed."""
    require("Orthanc")
    with temporary_folder() as folder:
        (folder / "storage").mkdir(mode=0o777)
        (folder / "storage").chmod(0o777)
        server = Orthanc(folder, **settings)
        try:
            server.start()
            yield server
        finally:
            server.kill()
