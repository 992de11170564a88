"""How passwords are stored: argon2id, in an amount of memory that a web process can afford."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from django.contrib.auth.hashers import Argon2PasswordHasher

from classifier.cpus import on_any_core

T = TypeVar("T")

# Of one process; what waits for it waits some 30 ms for each that is before it. Django's own
# parameters take 100 MB for each password: eight people who sign in at once would cost 800 MB.
# A thread of its own, and no lock: glibc keeps what a thread has freed for that thread, so that
# each thread that ever checked a password would hold 19 MB from then on. For processes that are
# started, not forked: a fork has no such thread, and would wait for it.
_ONE_AT_A_TIME: Final = ThreadPoolExecutor(1, "passwords")


class BoundedArgon2(Argon2PasswordHasher):
    """19 MiB, two passes, one lane, as OWASP's Password Storage Cheat Sheet has it.

    Hashes made with other parameters hold, and are replaced at the next sign-in.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """See `BasePasswordHasher.encode`."""
        return _in_thread(super().encode, password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """See `BasePasswordHasher.verify`."""
        return _in_thread(super().verify, password, encoded)


def _in_thread(work: Callable[[str, str], T], password: str, other: str) -> T:
    with on_any_core():  # beside the requests, not before them
        answer = _ONE_AT_A_TIME.submit(work, password, other)
    return answer.result()
