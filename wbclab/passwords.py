"""How passwords are stored: argon2id, in an amount of memory that a web process can afford."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher

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
        return _ONE_AT_A_TIME.submit(super().encode, password, salt).result()

    def verify(self, password: str, encoded: str) -> bool:
        """See `BasePasswordHasher.verify`."""
        return _ONE_AT_A_TIME.submit(super().verify, password, encoded).result()
