"""PostgreSQL that keeps what it has committed, with backups; and disks that can fill and hang."""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.counterparts import PostgreSQL, find, unprivileged_user


class DurablePostgreSQL(PostgreSQL):
    """A cluster with fsync on, that archives its log, is backed up and restored."""

    def __init__(self, folder: Path, safe: Path) -> None:
        """`folder` holds the cluster; `safe`, on another disk, its backups and archived log."""
        super().__init__(folder, durable=True)
        self.safe = safe
        self.archive = safe / "archive"
        self.archive.mkdir()
        if user := unprivileged_user():
            shutil.chown(safe, user)
            shutil.chown(self.archive, user)
        self._backups = 0

    @property
    def options(self) -> dict[str, str]:
        """As in production, but for a log small enough for a small disk."""
        return super().options | {
            "wal_level": "replica",
            "max_wal_size": "128MB",
            "min_wal_size": "32MB",
            "archive_mode": "on",
            "archive_command": f"test -f {self.archive}/%f || cp %p {self.archive}/%f",
            "restart_after_crash": "on",
        }

    def back_up(self) -> Path:
        """Take a base backup while the cluster is used; return where it lies."""
        self._backups += 1
        target = self.safe / f"backup-{self._backups}"
        subprocess.run(
            [
                find("pg_basebackup"), "--pgdata", target, "--checkpoint", "fast",
                "--wal-method", "stream", "--dbname",
                f"postgresql://wbclab@127.0.0.1:{self.port}/postgres",
            ],
            check=True, capture_output=True, timeout=120, user=unprivileged_user(), cwd=self.safe,
        )  # fmt: skip
        return target

    def lose_and_restore(self, backup: Path, *, with_log: bool) -> None:
        """kill -9, lose the data folder, start from a backup.

        `with_log` replays the archived log and what the dead cluster had not archived yet, so that
        nothing committed is lost. Without it, everything after the backup is.
        """
        self.kill()
        data, lost = self.folder / "data", self.safe / f"lost-{backup.name}"
        shutil.move(data, lost)
        self._as_postgres("cp", "-a", backup, data)
        # Said in both cases: a backup remembers what an earlier restore was told.
        goal = f"recovery_target = '{'' if with_log else 'immediate'}'"
        if with_log:
            for segment in sorted((lost / "pg_wal").glob("0000*")):
                if not (self.archive / segment.name).exists():
                    shutil.copy(segment, self.archive)
                    self._own(self.archive / segment.name)
        with (data / "postgresql.auto.conf").open("a") as out:
            out.write(f"restore_command = 'cp {self.archive}/%f %p'\n{goal}\n")
            out.write("recovery_target_action = 'promote'\n")
        (data / "recovery.signal").touch()
        self._own(data / "recovery.signal")
        self.start()
        self._wait_until_writable()
        shutil.rmtree(lost)

    def _wait_until_writable(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with (
                suppress(psycopg.Error),
                psycopg.connect(self.url, connect_timeout=2) as connection,
            ):
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                if row == (False,):
                    # Promotion is over: the next start must not ask for recovery again.
                    return
            time.sleep(0.1)
        raise TimeoutError("the restored cluster does not become writable")

    def _as_postgres(self, *command: object) -> None:
        subprocess.run(
            [str(part) for part in command], check=True, user=unprivileged_user(), cwd=self.safe
        )

    def _own(self, path: Path) -> None:
        if user := unprivileged_user():
            shutil.chown(path, user, user)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask the cluster itself; psycopg.Error while it is away."""
        with psycopg.connect(self.url, connect_timeout=2) as connection:
            return connection.execute(query).fetchall()


class Volume:
    """A file system of its own for a folder: ext4 in a loop device, that can fill and hang.

    Where none can be mounted (no root, no loop devices) it is a plain folder: `mounted` is False,
    and the faults that need it are left out.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        image = folder.with_suffix(".ext4")
        self.mounted = os.getuid() == 0 and self._mount(image, megabytes)
        self._filler = folder / "filler"

    def _mount(self, image: Path, megabytes: int) -> bool:
        with image.open("wb") as file:
            file.truncate(megabytes * 1024**2)
        make = ["mkfs.ext4", "-q", "-F", "-m", "0", str(image)]
        commands = [make, ["mount", "-o", "loop", str(image), str(self.folder)]]
        try:
            for command in commands:
                subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            image.unlink()
            return False
        return True

    def unmount(self) -> None:
        """Let go of it; what still writes there has been ended before."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> int:
        """Leave not one byte free; return how many were taken."""
        with self._filler.open("wb", buffering=0) as out:
            for block in (1024**2, 4096):
                with suppress(OSError):
                    while out.write(b"\0" * block):
                        pass
        return self._filler.stat().st_size

    def release(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def hang(self, seconds: float) -> None:
        """Let every write wait for so long. The thaw does not depend on this process."""
        script = f"fsfreeze -f {self.folder} && sleep {seconds:.2f}; fsfreeze -u {self.folder}"
        subprocess.run(["setsid", "sh", "-c", script], check=False, timeout=seconds + 30)
