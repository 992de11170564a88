"""Certificates for a test, made by openssl."""

import subprocess
from pathlib import Path


def certificates(folder: Path) -> None:
    """An authority, a server and a client it certifies."""
    folder.mkdir()
    run = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-days", "2"]  # fmt: skip
    subprocess.run(
        [*run, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    for name, subject in (("server", "localhost"), ("client", "his")):
        subprocess.run(
            [*run, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={subject}",
             "-addext", f"subjectAltName=DNS:{subject}", "-addext", "basicConstraints=CA:FALSE",
             "-CA", "ca.pem", "-CAkey", "ca.key"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
