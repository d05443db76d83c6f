"""Files as told from outside, without reading them: how they are named, which there are, whether one has changed.

The rule: a file is looked at through its links, so that a link that is moved to another file is a change, as
Kubernetes does it for mounted ConfigMaps and Secrets.
"""

import glob
import re
import stat
from pathlib import Path

Fingerprint = tuple[int, ...]


def shown(path: Path) -> str:
    """Return a path as logs, metrics and messages name it: one line that UTF-8 can carry."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def fingerprint(path: Path) -> Fingerprint | None:
    """Return what differs after a change; None where there is no regular file that could be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def gives_once(path: Path) -> bool:
    """Tell whether what is there may be read only once, and waits for a writer, as a pipe does."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


class Settling:
    """Tells when what is looked at has changed and come to rest: what is still being written is not read half.

    ``seen`` is how it looked when it was read last.
    """

    def __init__(self, seen: object) -> None:
        self._seen = seen
        self._last = seen

    @property
    def moving(self) -> bool:
        """Whether a change was seen that had no time to come to rest: worth another look soon."""
        return self._last != self._seen

    def settle(self, now: object) -> bool:
        """Take how it looks now as come to rest; True if that is a change."""
        changed = now != self._seen
        self._seen = self._last = now
        return changed

    def look(self, now: object) -> bool:
        """Take note of how it looks now; True once for each change, when it has looked alike twice."""
        settled = now == self._last and self.moving
        self._last = now
        if settled:
            self._seen = now
        return settled


class Pattern:
    """The files that a pattern names, with ``*``, ``?``, ``[…]`` and, for folders at any depth, ``**``.

    Without any of these it is one file's name, whether there is such a file or not. What is hidden matches only
    where its dot is written.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        parts = Path(text).parts
        plain = [_plain(part) for part in parts]
        literal = next((index for index, part in enumerate(plain) if part is None), len(plain))
        self._file = Path(*filter(None, plain)) if literal == len(plain) else None
        self._folder = Path(*filter(None, plain[:literal]))

    def find(self) -> list[Path]:
        """Return what there is, sorted, without folders. What cannot be listed looks empty."""
        if self._file is not None:
            return [self._file]
        # Path.glob takes no complete patterns, and finds what is hidden.
        found = map(Path, glob.glob(self._text, recursive=True))  # noqa: PTH207 - as above
        return sorted(path for path in found if not _is_folder(path))

    def obstacle(self, path: Path) -> str | None:
        """Say why a file that is not found any more may still be there; None if it is gone for certain."""
        for folder in reversed(path.parents):
            if folder != self._folder and self._folder not in folder.parents:
                continue
            try:
                any(folder.iterdir())
            except OSError as error:
                # A folder below was removed with its files; the first one might be back soon.
                if folder != self._folder and isinstance(error, FileNotFoundError | NotADirectoryError):
                    return None
                return f"{shown(folder)} cannot be listed: {(error.strerror or 'input/output error').lower()}"
        return None


def _plain(part: str) -> str | None:
    """Return the one name that a part of a pattern stands for; None if it may stand for several."""
    escaped = re.compile(r"\[([*?[])\]")
    return None if re.search(r"[*?[]", escaped.sub("", part)) else escaped.sub(r"\1", part)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False
