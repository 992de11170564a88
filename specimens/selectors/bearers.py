"""Who a token belongs to."""

from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from knox.models import AuthToken

from specimens.models import Site, TokenGrant, User
from specimens.selectors.written_out import Columns, parted, rows

_TOKEN: Final = Columns(AuthToken, "t")  # its first column is the digest
# All but what only the sign-in and pages ask for.
_OF_PAGES: Final = {"password", "last_login", "date_joined", "hotkeys"}
_USER: Final = Columns(
    User, "u", [f.attname for f in User._meta.concrete_fields if f.attname not in _OF_PAGES]
)
_GRANT: Final = Columns(TokenGrant, "g")
_SITE: Final = Columns(Site, "s")
_TOKENS: Final = """
SELECT {columns}
FROM knox_authtoken t JOIN specimens_user u ON u.id = t.user_id
LEFT JOIN specimens_tokengrant g ON g.token_id = t.digest
LEFT JOIN specimens_user_sites us ON us.user_id = u.id
LEFT JOIN specimens_site s ON s.id = us.site_id
WHERE t.token_key = %s ORDER BY t.digest, s.code
"""
_COLUMNS: Final = ", ".join([_TOKEN.sql, _USER.sql, _GRANT.sql, _SITE.sql])


def tokens_with_key(key: str) -> list[AuthToken]:
    """Return the tokens with this public part: one at most, but for chance.

    Account, grant and the account's sites come with it.
    """
    found = []
    for _, of_token in groupby(rows(_TOKENS.format(columns=_COLUMNS), [key]), itemgetter(0)):
        pieces = [parted(row, _TOKEN, _USER, _GRANT, _SITE) for row in of_token]
        token, user, grant, site, _ = pieces[0]
        found.append(_TOKEN.instance(token))
        found[-1].user = _USER.instance(user)
        if grant[0] is not None:
            found[-1].grant = _GRANT.instance(grant)
        sites = [_SITE.instance(piece[3]) for piece in pieces] if site[0] is not None else []
        _remember_sites(found[-1].user, sites)
    return found


def _remember_sites(user: User, sites: list[Site]) -> None:
    """Let `user.sites.all()` answer without asking, as prefetch_related does."""
    known: Any = user.sites.all()  # of this account: what narrows it further asks anew
    known._result_cache, known._prefetch_done = sites, True
    vars(user)["_prefetched_objects_cache"] = {"sites": known}
