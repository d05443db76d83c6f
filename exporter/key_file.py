"""An API key in a file, where it may be rotated while the exporter runs.

The rule: a key is used as the file has it at that moment; while the file cannot be read, as it was last.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from exporter.files import Fingerprint, fingerprint, gives_once, shown


class Secret(Protocol):
    """A text that shows itself only when asked, like pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """Return the text."""
        ...


class KeyFile:
    """A key that follows its file; safe to use from several threads.

    ``key`` is what the file held when it was read first. ``read`` reads it, or raises ValueError with words
    that do not name it. ``changed`` is called when another key has been taken up, from whichever thread.
    """

    def __init__(
        self,
        path: Path,
        key: Secret,
        *,
        read: Callable[[Path], Secret],
        changed: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._path = path
        self._key = key
        self._read = read
        self._changed = changed
        self._log = log
        self._lock = threading.Lock()
        self._seen: Fingerprint | None = ()  # Like no file: what was read may have changed since.
        self._problem: str | None = None

    def get_secret_value(self) -> str:
        """Return the key, read anew if the file has changed."""
        self.look()
        return self._key.get_secret_value()

    def look(self) -> None:
        """Take up another key, if the file has changed."""
        found = fingerprint(self._path)
        if found != self._seen:
            self._take_up(found)

    def read_again(self) -> None:
        """Read the file whether it seems to have changed or not."""
        self._take_up(fingerprint(self._path))

    def _take_up(self, found: Fingerprint | None) -> None:
        with self._lock:
            self._seen = found
            if gives_once(self._path):
                return
            before = self._key.get_secret_value()
            try:
                self._key = self._read(self._path)
            except ValueError as error:
                self._complain(str(error))
                return
            if self._problem is not None:
                self._problem = None
                self._log.info("key file can be read again", file=shown(self._path))
            renewed = self._key.get_secret_value() != before
        if renewed:
            self._log.info("key read anew", file=shown(self._path))
            self._changed()

    def _complain(self, problem: str) -> None:
        """Tell of a problem once, and not for each request."""
        if problem != self._problem:
            self._problem = problem
            where = shown(self._path)
            self._log.warning("key file cannot be read, its last key is used", file=where, problem=problem)
