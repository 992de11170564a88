"""Signs cases in a process of its own, over the database of WBCLAB_HOME.

    python -m tests.interop.sign_cases URL CASES AMENDED

Enters a webhook at URL first; for tests of the embedded mode, whose database is a file.
"""

import sys

import django
from django.conf import settings


def main(url: str, cases: int, amended: int) -> None:
    from tests.factories import make_cast
    from tests.interop.outbox import amend, make_cells, reviewed_case, sign, webhook

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cast, cells = make_cast(), make_cells()
    webhook(cast.site, url)
    reviewed = [reviewed_case(cast, cells) for _ in range(cases)]
    for case in reviewed:
        sign(cast.pathologist, case)
    for case in reviewed[:amended]:
        amend(cast.pathologist, case)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
