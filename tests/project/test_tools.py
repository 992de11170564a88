"""What only running the tools can tell: layers, migrations, the schema, what a process loads."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an embedded installation with nothing configured would."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"WBCLAB_DATABASE_URL", "WBCLAB_REDIS_URL", "WBCLAB_DEMO", "WBCLAB_DEBUG"}
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | {"WBCLAB_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def manage(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "manage.py", *arguments, home=home, **environment)


def test_imports_run_one_way(tmp_path: Path) -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = run(str(lint_imports), "--no-cache", home=tmp_path)
    assert done.returncode == 0, done.stdout


def test_migrations_are_complete(tmp_path: Path) -> None:
    done = manage("makemigrations", "--check", "--dry-run", home=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_openapi_schema_is_valid_without_a_warning(tmp_path: Path) -> None:
    done = manage(
        "spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"),
        home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "/api/predict" in (tmp_path / "schema.yml").read_text()


def test_production_settings_pass_the_deployment_check(tmp_path: Path) -> None:
    done = manage(
        "check", "--deploy", "--fail-level", "WARNING",
        home=tmp_path,
        WBCLAB_HTTPS="1",
        WBCLAB_BEHIND_PROXY="1",
        WBCLAB_SECRET_KEY="correct-horse-" * 5,
        WBCLAB_ALLOWED_HOSTS="lab.example.org",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_static_files_collect(tmp_path: Path) -> None:
    done = manage("collectstatic", "--noinput", home=tmp_path)
    assert done.returncode == 0, done.stderr


# Each costs a web process, or its start, more than all of Django; a view imports what it needs.
HEAVY = (
    "tensorflow", "keras", "torch", "jax", "onnxruntime", "numpy", "PIL", "celery", "httpx",
    "highdicom", "pydicom", "pynetdicom", "reportlab", "boto3",
)  # fmt: skip


def test_a_web_process_starts_light(tmp_path: Path) -> None:
    # The URLs too: Django imports them, and the views with them, at the first request.
    look = (
        "import importlib, sys; import wbclab.asgi; importlib.import_module('wbclab.urls'); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = run(sys.executable, "-c", look, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
