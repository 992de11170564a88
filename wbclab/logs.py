"""Logs that say what happened and to which row, and nothing of a patient (docs/operations.md).

A line of ours is an event with fields: numbers, ids, fixed words. What could carry a name or a
number of a patient is left out by its kind, not by looking at it: the text of an exception, the
values a library puts into its messages, and the text of an object. WBCLAB_DEBUG=1 shows them.
"""

import errno
import logging
import logging.config
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import structlog
from django.conf import settings
from django.db.models import Model

Event = MutableMapping[str, Any]

OURS: Final = ("wbclab", "specimens", "classifier")
# They write whole texts where others give a template and values; none of it comes from a request.
TRUSTED: Final = ("celery", "kombu", "uvicorn")
_FRAMES: Final = 20
_LONGEST: Final = 300
_SITE_PACKAGES: Final = "site-packages/"

logger = structlog.get_logger("wbclab")
_now = structlog.processors.TimeStamper(fmt="iso", utc=True)


def configure(config: dict[str, Any]) -> None:
    """Set logging up; Django calls this once, with LOGGING (settings.LOGGING_CONFIG)."""
    logging.config.dictConfig(config)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # What ends a process or a thread is written by Python itself, with the exception's text.
    if not settings.DEBUG:
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = _log_the_end
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _log_the_end_of_a_thread


def formatter(*, as_json: bool) -> logging.Formatter:
    """Return the formatter of all handlers: one JSON object a line, or text for a terminal."""
    render = structlog.processors.JSONRenderer() if as_json else _as_text
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _foreign_text],
        processors=[
            _say_when_and_where,
            _keep_what_is_harmless,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            render,
        ],
        use_get_message=False,
        pass_foreign_args=True,
    )


def describe(value: object) -> str:
    """Name a value without its content: the kind and code of an error, the number of a row.

    >>> describe(OSError(28, "No space left on device", "/a/name"))
    'OSError ENOSPC'
    """
    if isinstance(value, Model):
        return f"{value._meta.model_name} {value.pk}"
    if isinstance(value, BaseException):
        return f"{type(value).__qualname__} {_code_of(value)}".rstrip()
    return type(value).__qualname__


def _code_of(error: BaseException) -> str:
    """Return what tells one error of a kind from another: errno, SQLSTATE, a code of ours."""
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno, str(error.errno))
    for one in (error, error.__cause__):
        code = getattr(one, "sqlstate", None) or getattr(one, "code", None)
        if isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum():
            return code
    return ""


def _foreign_text(_: Any, __: str, event: Event) -> Event:
    """Put the text of a record of the standard library's logging together, as far as it may be."""
    record: logging.LogRecord = event["_record"]
    template, values = record.msg, event.pop("positional_args", ())
    if settings.DEBUG or record.name.startswith(TRUSTED):
        event["event"] = str(template) % values if values else str(template)
    elif record.name.startswith(OURS):
        event["event"] = _filled(str(template), values)
    elif values and isinstance(template, str):
        event["event"] = template  # of a library: its values may be anything
    else:
        event["event"] = f"text left out: {record.module}:{record.lineno}"
    return event


def _filled(template: str, values: Any) -> str:
    if not values:
        return template
    if isinstance(values, dict):
        return template % {name: _harmless(value) for name, value in values.items()}
    return template % tuple(_harmless(value) for value in values)


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_harmless(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _harmless(one) for name, one in value.items()}
    if isinstance(value, Path):
        return str(value)
    return describe(value)


def _say_when_and_where(_: Any, __: str, event: Event) -> Event:
    record: logging.LogRecord = event["_record"]
    moment = _now(None, "", {})["timestamp"]
    head = {"time": moment, "level": record.levelname.lower(), "event": event.pop("event")}
    return {**head, "logger": record.name, **event}


def _keep_what_is_harmless(_: Any, __: str, event: Event) -> Event:
    """Name what is no plain value, and tell of an exception where it was raised, not its text."""
    raised = event.pop("exc_info", None)
    for name, value in event.items():
        if name not in ("_record", "event"):
            event[name] = _harmless(value)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["exception"] = _chain(error)
        if settings.DEBUG:
            event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _chain(error: BaseException) -> list[dict[str, Any]]:
    """Return the error and what it came of, each with its kind, code and frames."""
    links: list[dict[str, Any]] = []
    one: BaseException | None = error
    while one is not None and len(links) < 5:
        frames = traceback.extract_tb(one.__traceback__)[-_FRAMES:]
        places = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
        links.append({"type": describe(one), "frames": places})
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return links


def _short(filename: str) -> str:
    return filename.rpartition(_SITE_PACKAGES)[2].removeprefix(f"{settings.BASE_DIR}/")


def _as_text(_: Any, __: str, event: Event) -> str:
    chain, debug = event.pop("exception", []), event.pop("traceback", "")
    head = f"{event.pop('time')} {event.pop('level'):8} {event.pop('logger')}: {event.pop('event')}"
    lines = [" ".join([head, *(f"{name}={value}" for name, value in event.items())])]
    for link in [] if debug else chain:
        lines += [f"  {link['type']}", *(f"    {frame}" for frame in link["frames"])]
    return "\n".join([*lines, debug]).rstrip()


def _log_the_end(kind: Any, error: BaseException, frames: Any) -> None:
    from django.core.management import CommandError  # a web process needs none of it

    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, frames)
    elif isinstance(error, CommandError):  # its text is for who called the command
        sys.stderr.write(f"{kind.__name__}: {error}\n")
    else:
        logger.critical("the process ends on an error", exc_info=error)


def _log_the_end_of_a_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = arguments.thread.name if arguments.thread else ""
        logger.error("a thread ends on an error", thread=name, exc_info=arguments.exc_value)
