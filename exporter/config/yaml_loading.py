"""Files that a user wrote, YAML ones above all: read within bounds, into plain values.

Stricter than YAML where YAML surprises: a key given twice is a problem, keys are text as written, anchors,
aliases and tags are refused, and a scalar that YAML takes for something else than what is written (``0x1F``,
a date) stays recognisable. Messages give lines, never the file's content: it may hold a secret.
"""

import contextlib
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter.config.problems import Problem, RefusedError, shorten
from exporter.files import gives_once

# About 100,000 actions with labels.
_LARGEST_FILE_BYTES = 8 * 1024 * 1024
DEEPEST_NESTING = 20
LONGEST_INTEGER_DIGITS = 128
# Beyond this, no number is worked out only to be shown: base 60 (1:30:00) takes quadratic time.
_LONGEST_SHOWN = 40
_DECIMAL = re.compile("0|-?[1-9][0-9]*")

# libyaml's parser is some ten times faster; both read the same language.
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Misread:
    """An unquoted scalar that is read as something else than its text: ``0x1F`` is 31, to YAML."""

    text: str = field(repr=False)
    meaning: str = field(repr=False)
    language: str = "YAML"

    def __str__(self) -> str:
        """Say how it is read, and how to have it taken as written. For values that are no secret."""
        subject = f"{shorten(self.text)} is read by {self.language} as {self.meaning}"
        return f"{subject}: put it in quotes to have it taken as written"


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Return a file's content; raise RefusedError, which does not name the path, where that fails."""
    with _refusing(), path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    return _bounded(content, limit_bytes)


def read_pipe(path: Path, limit_bytes: int, *, seconds: float) -> bytes:
    """Return what a pipe gives before it ends; raise RefusedError, as read_bounded, or after so many seconds."""
    deadline = time.monotonic() + seconds
    content = b""
    with _refusing(), os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while len(content) <= limit_bytes:
            # Not even the end of a pipe comes before somebody has opened it to write.
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise RefusedError(f"is a pipe that did not come to its end within {seconds:g} s")
            piece = pipe.read(limit_bytes + 1)
            if piece == b"":
                break
            content += piece or b""
    return _bounded(content, limit_bytes)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn the system's errors into a RefusedError."""
    try:
        yield
    except RefusedError:
        raise
    except OSError as error:
        raise RefusedError(f"cannot be read: {(error.strerror or 'input/output error').lower()}") from None
    except ValueError:
        raise RefusedError("cannot be read: this is no file name") from None


def _bounded(content: bytes, limit_bytes: int) -> bytes:
    if len(content) > limit_bytes:
        raise RefusedError(f"is larger than {limit_bytes:,} bytes")
    return content


def refuse_pipe(path: Path) -> None:
    """Refuse what gives its content once, and may have given it."""
    if gives_once(path):
        raise RefusedError("is not a regular file, and cannot be read a second time")


def read_text(path: Path, *, again: bool = False) -> str:
    """Return a file's text; raise RefusedError, which does not name the path, where there is none.

    A pipe's is not there ``again``.
    """
    if again:
        refuse_pipe(path)
    content = read_bounded(path, _LARGEST_FILE_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RefusedError(f"line {line}: is not UTF-8 text") from None


def parse_yaml(text: str, loader: type[yaml.SafeLoader | yaml.CSafeLoader] = _Loader) -> tuple[Any, list[Problem]]:
    """Return a text's one document as plain values (None where it is empty), and the keys given twice.

    Raise RefusedError where there is no reading it at all. Of a key given twice the first value counts.
    """
    try:
        builder = _Builder(loader(text))
        return builder.document(), builder.repeated
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(text.find(chr(error.character)), 0)) + 1
        raise RefusedError(f"line {line}: the character U+{error.character:04X} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        raise RefusedError(_describe(error)) from None


def _describe(error: yaml.MarkedYAMLError) -> str:
    # libyaml quotes nothing. The parser in Python quotes single characters and, of more, only tag handles: an
    # unquoted key that begins with ! looks like one.
    problem = re.sub("(?<=tag handle) .*", "", error.problem or "is not YAML")
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


class _Builder:
    """Builds plain values from the parser's events, which come one by one however deep the document is."""

    def __init__(self, loader: Any) -> None:
        self.repeated: list[Problem] = []
        self._loader = loader
        self._location: list[str | int] = []

    def document(self) -> Any:
        self._loader.get_event()  # The stream's start.
        if self._loader.check_event(yaml.StreamEndEvent):
            return None
        self._loader.get_event()  # The document's start.
        value = self._value(self._loader.get_event())
        self._loader.get_event()  # The document's end.
        if not self._loader.check_event(yaml.StreamEndEvent):
            raise _error(self._loader.get_event(), "a second document begins: a file holds one")
        return value

    def _value(self, event: Any) -> Any:
        if event.anchor is not None:
            raise _error(
                event, "anchors and aliases (& and *) are not supported: write the value out, or quote it"
            )
        if event.tag is not None:
            raise _error(event, "tags (!) are not supported: quote a value that begins with !")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(self._location) >= DEEPEST_NESTING:
            raise _error(event, f"is nested more than {DEEPEST_NESTING} levels deep")
        return self._list() if isinstance(event, yaml.SequenceStartEvent) else self._mapping()

    def _list(self) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            self._location.append(len(values))
            values.append(self._value(event))
            self._location.pop()
        return values

    def _mapping(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise _error(event, "a key must be plain text")
            key, line = event.value, _line(event)
            self._location.append(key)
            value = self._value(self._loader.get_event())
            if key not in values:
                values[key] = value
                lines[key] = line
            else:
                # Not named without values: "{key: aa,bb,bb}" makes keys of a secret's pieces.
                torn = value is None or values[key] is None
                where = tuple(self._location[:-1] if torn else self._location)
                self.repeated.append((where, f"lines {lines[key]} and {line}: the same key is given twice"))
            self._location.pop()
        return values

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # It is in quotes, or a block.
            return text
        # Most IDs. To ask YAML's rules for each costs more than to read it.
        if _DECIMAL.fullmatch(text) and len(text) <= LONGEST_INTEGER_DIGITS:
            return int(text)
        tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit).removeprefix("tag:yaml.org,2002:")
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() in {"yes", "true", "on"}
            case "int" | "float":
                return self._number(text, tag)
        return Misread(text, "a date") if tag == "timestamp" else text

    def _number(self, text: str, tag: str) -> float | Misread:
        if len(text) > _LONGEST_SHOWN:
            return Misread(text, "a number")
        node = yaml.ScalarNode(tag, text)
        try:
            if tag == "float":
                return float(self._loader.construct_yaml_float(node))
            return Misread(text, str(self._loader.construct_yaml_int(node)))
        except (ValueError, OverflowError):  # "0x_" looks like a number to YAML and is none.
            return Misread(text, "a number")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _error(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
