"""Statements that are written out, and planned once a connection.

Only for what each image or each call needs: there the ORM takes longer to compose a statement than
the database to answer it.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import islice
from typing import Any, Final, Generic, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import BinaryField, Field, JSONField, Model

M = TypeVar("M", bound=Model)
Values = Sequence[Any]
# The same in JSON; asking a field takes longer than all the rest.
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def cursor() -> AbstractContextManager[Any]:
    """Return a cursor whose statements PostgreSQL parses and plans once a connection.

    Others get their parameters written into the text, and are parsed and planned at each call.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]  # `connection` looks it up at each attribute
    if database.vendor != "postgresql":
        return cast("AbstractContextManager[Any]", database.cursor())
    from django.db.backends.postgresql.base import ServerBindingCursor

    database.ensure_connection()
    bare = ServerBindingCursor(database.connection)  # type: ignore[call-arg]
    wrap = database.make_debug_cursor if database.queries_logged else database.make_cursor
    return cast("AbstractContextManager[Any]", wrap(bare))


def rows(statement: str, values: Values) -> list[Any]:
    """Run a statement and return its rows."""
    with cursor() as executed:
        executed.execute(statement, values)
        found: list[Any] = executed.fetchall()
        return found


def stored(model: type[Model], name: str, value: object) -> Any:
    """Return a value of a column as the database at hand takes it."""
    return _field(model, name).get_db_prep_value(value, connection)


class Columns(Generic[M]):
    """Columns of a model in a statement, and instances of the values that it returns.

    Args:
        model: whose instances are made.
        table: how the statement calls its table.
        names: of the columns wanted; all of them by default. Others are read when asked for.

    Attributes:
        each: the columns as the statement writes them, in the order of the model.
        sql: the same with commas.
    """

    def __init__(self, model: type[M], table: str, names: Sequence[str] = ()) -> None:
        fields = [f for f in model._meta.concrete_fields if not names or f.attname in names]
        self._model = model
        self._names = tuple(field.attname for field in fields)
        self.each: Final = [f'{table}."{field.column}"' for field in fields]
        self.sql: Final = ", ".join(self.each)

    def instance(self, values: Values) -> M:
        """Return the instance with these values, in the order of `sql`."""
        converted = list(values)
        for place, convert in _converters(self._model, self._names):
            converted[place] = convert(converted[place])
        return self._model.from_db(connection.alias, self._names, converted)


class NewRows(Generic[M]):
    """Instances on their way into a table, all of them as one parameter (PostgreSQL only).

    The database draws the primary key.

    Attributes:
        columns: those that are written, with commas.
    """

    def __init__(self, model: type[M]) -> None:
        self._fields = [f for f in model._meta.concrete_fields if not f.primary_key]
        self.columns: Final = ", ".join(f'"{field.column}"' for field in self._fields)

    @property
    def given(self) -> str:
        """What to select `columns` from; it takes one parameter."""
        types = ", ".join(f'"{f.column}" {f.db_type(connection)}' for f in self._fields)
        return f"json_to_recordset(%s) AS given ({types})"

    def parameter(self, instances: Sequence[M]) -> str:
        """Return the values of the instances, in their order."""
        return json.dumps(
            [
                {f.column: _in_json(f, getattr(one, f.attname)) for f in self._fields}
                for one in instances
            ],
            default=str,
        )


def _in_json(field: "Field[Any, Any]", value: Any) -> Any:
    if type(value) in _PLAIN or isinstance(field, JSONField):
        return value
    if isinstance(field, BinaryField):
        return "\\x" + bytes(value).hex()
    return field.get_db_prep_save(value, connection)


def parted(row: Values, *parts: Columns[Any]) -> list[Values]:
    """Return the values of each part of a row, and those that are left."""
    left, pieces = iter(row), []
    for part in parts:
        pieces.append(list(islice(left, len(part.each))))
    return [*pieces, list(left)]


@cache
def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    return next(field for field in model._meta.concrete_fields if field.attname == name)


@cache
def _converters(
    model: type[Model], names: tuple[str, ...]
) -> list[tuple[int, Callable[[Any], Any]]]:
    """What the ORM would do with the values of columns, by their place."""
    found = []
    for place, name in enumerate(names):
        column: Any = _field(model, name).cached_col
        for convert in (
            *connection.ops.get_db_converters(column),
            *column.get_db_converters(connection),
        ):
            found.append((place, _applied(convert, column)))
    return found


def _applied(convert: Callable[..., Any], column: Any) -> Callable[[Any], Any]:
    return lambda value: convert(value, column, connection)
