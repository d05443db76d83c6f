"""What is wrong with a file that a user wrote: where it stands, and how a message says so.

The rule: a message is one line, which names the file and the dotted key, and shows of what the file says only
what cannot be a secret.
"""

import difflib
import re
from pathlib import Path
from typing import Any

from exporter.files import shown

Location = tuple[str | int, ...]
"""Where in a document: ``("actions", 3, "id")`` is ``actions[3].id``."""
Problem = tuple[Location, str]

_MOST_PROBLEMS = 100
_LONGEST_SHOWN = 40


class RefusedError(ValueError):
    """A value that cannot be used: the text says why and what would be right, and quotes no secret."""


def dotted(location: Location) -> str:
    """Write a location as users know it: ``tenants[2].api.url``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in location)
    return "".join(parts).removeprefix(".")


def shorten(text: str) -> str:
    """Cut a long text, so that a message stays one readable line."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def unknown_key(key: str, value: Any, known: list[str]) -> Problem:
    """Say that a mapping has no such key, and which was meant."""
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.7)
    keys = f"known are: {', '.join(known)}"
    if close:
        return (key,), f"unknown key; did you mean {close[0]}? {keys}"
    # YAML tears an unquoted secret apart, "{key: ab,cd}", and its pieces are keys without a value then.
    if value is None or not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", key, re.ASCII):
        return (), f"an unknown key, not shown as it may be a piece of a secret; {keys}"
    return (key,), f"unknown key; {keys}"


def describe(path: Path, raw: Any, problems: list[Problem]) -> list[str]:
    """Write problems in the order in which they stand in a file, whose plain values are ``raw``; not too many."""
    positions = _Positions(raw)
    problems = sorted(problems, key=lambda problem: positions.of(problem[0]))
    lines = [
        f"{shown(path)}: {dotted(location)}: {text}" if location else f"{shown(path)}: {text}"
        for location, text in problems[:_MOST_PROBLEMS]
    ]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"{shown(path)}: … and {len(problems) - _MOST_PROBLEMS} more")
    return lines


class _Positions:
    """Tells where in a file a location stands."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        # By the mapping's identity: to search its keys for each problem takes quadratic time.
        self._places: dict[int, dict[str, int]] = {}

    def of(self, location: Location) -> list[int]:
        """Return a location's place, level by level; a missing key comes last."""
        place, raw = [], self._raw
        for part in location:
            if isinstance(part, int):
                place.append(part)
                raw = raw[part]
            else:
                places = self._places.get(id(raw))
                if places is None:
                    places = self._places[id(raw)] = {key: number for number, key in enumerate(raw)}
                place.append(places.get(part, len(places)))
                raw = raw.get(part)
        return place


def _printable(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,64}", key, re.ASCII) else ascii(shorten(key))
