"""How passwords are stored: argon2id, in an amount of memory that a web process can afford."""

import threading
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher

# Of one process; what waits for it waits some 30 ms for each that is before it. Django's own
# parameters take 100 MB for each password: eight people who sign in at once would cost 800 MB.
_ONE_AT_A_TIME: Final = threading.Lock()


class BoundedArgon2(Argon2PasswordHasher):
    """19 MiB, two passes, one lane, as OWASP's Password Storage Cheat Sheet has it.

    Hashes made with other parameters hold, and are replaced at the next sign-in.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """See `BasePasswordHasher.encode`."""
        with _ONE_AT_A_TIME:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """See `BasePasswordHasher.verify`."""
        with _ONE_AT_A_TIME:
            return super().verify(password, encoded)
