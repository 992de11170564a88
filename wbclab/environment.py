"""Where the settings read what a site may change, and the folder that is theirs."""

from pathlib import Path
from typing import Any, Final

import environ

_NO: Final = ("false", "off", "n", "no", "0", "")


class Environment(environ.FileAwareEnv):
    """Variables, or the files that NAME_FILE names. What cannot be read is an error by its name.

    The library would pass on what `int` says of a value, take an unknown word for no, and "1m" for
    one. The address of a database is not repeated: a password stands in it.
    """

    def get_value(self, var: str, cast: Any = None, *default: Any, **more: Any) -> Any:
        """See `environ.Env.get_value`. Raises ImproperlyConfigured."""
        text = str(self.ENVIRON.get(var, ""))
        if cast is bool and text.strip().lower() not in (*self.BOOLEAN_TRUE_STRINGS, *_NO):
            raise environ.ImproperlyConfigured(f'{var}: write 1 or 0, not "{text}".')
        try:
            if cast is float and text:
                return float(text)
            return super().get_value(var, cast, *default, **more)
        except ValueError as error:
            raise environ.ImproperlyConfigured(f"{var} cannot be read: {error}") from None

    def db_url(self, var: str, *default: Any, **more: Any) -> Any:
        """See `environ.Env.db_url`. Raises ImproperlyConfigured."""
        try:
            return super().db_url(var, *default, **more)
        except ValueError:
            text = (
                f"{var} cannot be read: write postgres://user:password@host:5432/name, and each of "
                '/ : @ # ? % of the password as % and two digits ("/" is %2F).'
            )
            raise environ.ImproperlyConfigured(text) from None


BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

HOME = Path(env.str("WBCLAB_HOME", default=str(BASE_DIR / "var"))).resolve()
HOME.mkdir(parents=True, exist_ok=True)
