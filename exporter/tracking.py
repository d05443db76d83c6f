"""Which actions are tracked: the configuration's own and those of action files, which are watched.

The rule: what was read once is kept until there is something better. A file that breaks keeps its last good
content, one that is being written waits, and only a file that is gone for certain takes its actions with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from exporter.errors import ConfigurationError
from exporter.files import Fingerprint, Pattern, Settling, fingerprint, shown

# A network's file system may fail and recover without a change to the file that shows.
_LOOKS_UNTIL_RETRY = 60
_MOST_LOGGED = 3
_MOST_WARNINGS_PER_FILE = 20


class Entry(Protocol):
    """An action as a list has it."""

    @property
    def id(self) -> str:
        """The action's ID."""
        ...

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """The names and values of its own labels."""
        ...


Read = Callable[[Path], Sequence[Entry]]


@dataclass(frozen=True)
class FileState:
    """What the metrics say of an action file; duplicates are those of its actions that were tracked already."""

    read_successfully: bool
    duplicates: int


class ActionFiles:
    """The action files of all tenants: their last good content, and what of them is wrong.

    ``read`` returns a file's entries, one for each action listed, or raises ConfigurationError. For one thread,
    but for ``files``, ``problems`` and ``warnings``: what they return is replaced and never changed.
    """

    def __init__(self, *, read: Read, log: FilteringBoundLogger) -> None:
        self._read = read
        self._log = log
        self._selected: dict[str | None, tuple[str, ...]] = {}
        self._own: dict[str | None, tuple[Entry, ...]] = {}
        self._patterns: dict[str, Pattern] = {}
        self._matches: dict[str, list[Path]] = {}
        self._files: dict[Path, _File] = {}
        self._tracked: dict[str | None, list[Entry]] = {}
        self._states: Mapping[str, FileState] = {}
        self._problems: Sequence[str] = ()
        self._warnings: Sequence[str] = ()

    def select(
        self, patterns: Mapping[str | None, Sequence[str]], own: Mapping[str | None, Sequence[Entry]]
    ) -> None:
        """Take over each tenant's patterns and own actions, and read at once what is new."""
        self._selected = {tenant: tuple(texts) for tenant, texts in patterns.items()}
        self._own = {tenant: tuple(entries) for tenant, entries in own.items()}
        texts = dict.fromkeys(text for texts in self._selected.values() for text in texts)
        self._patterns = {text: Pattern(text) for text in texts}
        self._matches = {text: self._matches.get(text, []) for text in texts}
        self._look(at_once=True)
        for text, paths in self._matches.items():
            if not paths:
                self._log.warning("no action file matches", pattern=text)
        self._publish()

    def look(self) -> bool:
        """Look for changes, once a second or so; True if other actions, or other labels, are tracked now.

        What has changed is read when it has looked alike twice.
        """
        before = self._known()
        self._look(at_once=False)
        if self._known() == before:
            return False
        tracked = self._tracked
        self._publish()
        return self._tracked != tracked

    def tracked(self, tenant: str | None) -> list[Entry]:
        """Return a tenant's actions, each once: its own, then the files' in the order of patterns and names."""
        return list(self._tracked.get(tenant, ()))

    @property
    def files(self) -> Mapping[str, FileState]:
        """Every file that was read or should have been, by the name that is shown."""
        return self._states

    @property
    def whole(self) -> bool:
        """Whether each pattern has files, and none of them is broken."""
        return not self._problems and all(self._matches.values())

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the files that are broken now."""
        return self._problems

    @property
    def warnings(self) -> Sequence[str]:
        """A line for each action that a file lists and that is tracked already; of many in one file, the first."""
        return self._warnings

    def _look(self, *, at_once: bool) -> None:
        there = {text: pattern.find() for text, pattern in self._patterns.items()}
        present = {path for paths in there.values() for path in paths}
        for text, paths in there.items():
            self._matches[text] = sorted({*paths, *self._matches[text]})
        matched = dict.fromkeys(path for paths in self._matches.values() for path in paths)
        self._files = {path: self._files.get(path) or _File(path, self._read, self._log) for path in matched}
        for path, file in list(self._files.items()):
            obstacle = None if path in present else self._obstacle(path)
            if not file.look(present=path in present, obstacle=obstacle, at_once=at_once):
                continue
            if path in present:
                file.read()
            elif obstacle:
                file.fail([f"{file.shown}: cannot be found: {obstacle}"])
            else:
                self._forget(path)

    def _obstacle(self, path: Path) -> str | None:
        holders = (self._patterns[text] for text, paths in self._matches.items() if path in paths)
        return next(filter(None, (pattern.obstacle(path) for pattern in holders)), None)

    def _forget(self, path: Path) -> None:
        file = self._files.pop(path)
        for paths in self._matches.values():
            if path in paths:
                paths.remove(path)
        self._log.info("action file is gone", file=file.shown, actions=len(file.entries))

    def _known(self) -> list[tuple[Path, object, object, bool]]:
        return [(path, file.entries, file.problems, file.tried) for path, file in self._files.items()]

    def _publish(self) -> None:
        duplicates = {path: _Duplicates() for path in self._files}
        self._tracked = {tenant: list(self._merge(tenant, duplicates)) for tenant in self._selected}
        known = [(file, duplicates[path]) for path, file in self._files.items() if file.tried]
        for file, found in known:
            file.note(found)
        self._states = {file.shown: FileState(not file.problems, found.count) for file, found in known}
        self._problems = [line for file, _ in known for line in file.problems]
        self._warnings = [f"{file.shown}: {line}" for file, found in known for line in found.lines]

    def _merge(self, tenant: str | None, duplicates: Mapping[Path, "_Duplicates"]) -> Iterator[Entry]:
        """Yield a tenant's actions, and take note of those that a file lists once more."""
        origins: dict[str, str] = {}
        for entry in self._own.get(tenant, ()):
            if entry.id not in origins:
                origins[entry.id] = "the configuration"
                yield entry
        of_tenant = "" if tenant is None else f" for tenant {tenant}"
        for path in dict.fromkeys(path for text in self._selected[tenant] for path in self._matches[text]):
            file = self._files[path]
            for index, entry in enumerate(file.entries):
                if entry.id in origins:
                    duplicates[path].add(
                        f"[{index}]: {entry.id} is tracked already{of_tenant}, from {origins[entry.id]}"
                    )
                else:
                    origins[entry.id] = file.shown
                    yield entry


@dataclass
class _Duplicates:
    """The actions of one file that were tracked already."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        self.count += 1
        if self.count <= _MOST_WARNINGS_PER_FILE:
            self.first.append(line)

    @property
    def lines(self) -> list[str]:
        left = self.count - len(self.first)
        return [*self.first, f"… and {left} more"] if left else self.first


class _File:
    """One action file: its last good content, what is wrong with it now, and what of that the log has."""

    def __init__(self, path: Path, read: Read, log: FilteringBoundLogger) -> None:
        self.shown = shown(path)
        self.entries: tuple[Entry, ...] = ()
        self.problems: list[str] = []
        self.tried = False
        self._path = path
        self._read = read
        self._log = log
        self._settling = Settling(seen=None)
        self._fingerprint: Fingerprint | None = None
        self._looks_since = 0
        self._noted = _Duplicates()

    def look(self, *, present: bool, obstacle: str | None, at_once: bool) -> bool:
        """Look at the file; True if it is to be read, or to be given up; at once only if it never was."""
        self._fingerprint = fingerprint(self._path)
        now = (present, obstacle, self._fingerprint)
        if self._settling.settle(now) if at_once and not self.tried else self._settling.look(now):
            return True
        if self._settling.moving or not self.problems:
            return False
        self._looks_since += 1
        # Where there is nothing to read, to try costs nothing.
        return self._fingerprint is None or self._looks_since % _LOOKS_UNTIL_RETRY == 0

    def read(self) -> None:
        """Read the file as it was looked at."""
        try:
            entries, problems = tuple(self._read(self._path)), []
        except ConfigurationError as error:
            entries, problems = self.entries, error.problems
        # Changed meanwhile, it may be half of what it will be; it is read again when it has come to rest.
        if self.tried and fingerprint(self._path) != self._fingerprint:
            return
        if problems:
            self.fail(problems)
            return
        if self.problems or not self.tried or entries != self.entries:
            event = "action file recovered" if self.problems else "action file read"
            self._log.info(event, file=self.shown, actions=len(entries))
        if entries != self.entries:
            self.entries = entries
        self.tried, self.problems = True, []

    def fail(self, problems: list[str]) -> None:
        """Keep what is known, and say why there is nothing newer."""
        self.tried = True
        if problems != self.problems:
            self.problems = problems
            texts = [problem.removeprefix(f"{self.shown}: ") for problem in problems]
            self._log.warning("action file cannot be read", file=self.shown, problem=_first(texts))

    def note(self, duplicates: _Duplicates) -> None:
        """Log the actions that others list as well, when they are other ones than before."""
        if duplicates != self._noted and duplicates.count:
            self._log.warning(
                "action file lists tracked actions",
                file=self.shown,
                duplicates=duplicates.count,
                first=_first(duplicates.first),
            )
        self._noted = duplicates


def _first(texts: Sequence[str]) -> str:
    return "; ".join([*texts[:_MOST_LOGGED], *(["…"] if len(texts) > _MOST_LOGGED else [])])
