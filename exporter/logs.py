"""The log: lines of logfmt or JSON on standard error, the libraries' own messages among them."""

import contextlib
import logging
import sys
import traceback
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(*, level: str, json: bool) -> FilteringBoundLogger:
    """Set up logging for the process and return the logger; ``level`` is a key of :data:`LEVELS`.

    A line as logfmt::

        ts=2026-01-31T12:00:00.000000Z level=info msg="general status changed" action_id=325 …
    """
    renderer: Processor
    if json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "msg"])
    structlog.configure(
        processors=[
            _add_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            _escape_controls,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    # Bound at once: otherwise each call, also one that logs nothing, would make a logger first.
    log: FilteringBoundLogger = structlog.get_logger().bind()
    logging.basicConfig(handlers=[_Forward(log)], level=logging.WARNING, force=True)
    # What these say of single requests and connections would be a line per poll, scrape or client.
    for name in ("urllib3", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return log


def origin(error: Exception) -> dict[str, str]:
    """Say of an error what it is and where it was raised, but not its text, which could quote a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    calls = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
    return {"error": type(error).__name__, "raised_in": calls}


class _Unfailing:
    """A file whose writes are lost when they fail: a full disk or a reader that left must not end polling."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


class _Forward(logging.Handler):
    """Hands records of the standard library's logging over to ours."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _add_level(_: WrappedLogger, name: str, event: EventDict) -> EventDict:
    event["level"] = {"warning": "warn", "critical": "error"}.get(name, name)
    return event


def _escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep terminal escapes and line breaks out of lines, whoever wrote the text."""
    return {key: _printable(value) for key, value in event.items() if value is not None}


def _printable(value: Any) -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
