"""A cluster that answers reads only is no place to work at: connections go elsewhere, or wait."""

import psycopg
import pytest
from django.db import connection


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_session_that_cannot_write_is_refused() -> None:
    wanted = connection.get_connection_params()
    wanted = {name: value for name, value in wanted.items() if name in _OF_LIBPQ}
    psycopg.connect(**wanted).close()
    read_only = wanted | {"options": "-c default_transaction_read_only=on"}
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        psycopg.connect(**read_only)


_OF_LIBPQ = {"host", "port", "user", "password", "dbname", "options", "target_session_attrs"}
