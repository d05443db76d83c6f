"""JSON that a user's program wrote, read into the same plain values as YAML and as strictly.

The rule: what JSON's readers let pass is a problem or stays recognisable: a key given twice, ``NaN``, ``-0``.
Messages give lines, never the file's content.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from exporter.config.problems import Location, Problem, RefusedError
from exporter.config.yaml_loading import DEEPEST_NESTING, LONGEST_INTEGER_DIGITS, Misread


def parse_json(text: str) -> tuple[Any, list[Problem]]:
    """Return a text's one document as plain values (None where it is empty), and the keys given twice.

    Raise RefusedError where there is no reading it at all.
    """
    if not text.strip():
        return None, []
    try:
        value = json.loads(text, object_pairs_hook=_mapping, parse_int=_integer, parse_constant=_misread)
    except json.JSONDecodeError as error:
        problem = error.msg[:1].lower() + error.msg[1:].removesuffix(" at").rstrip(": ")
        raise RefusedError(f"line {error.lineno}, column {error.colno}: is not JSON: {problem}") from None
    except RecursionError:
        raise RefusedError(f"is nested more than {DEEPEST_NESTING} levels deep") from None
    return value, list(_repeated(value))


class _Ambiguous(dict[str, Any]):
    """A mapping in which a key was given twice."""

    repeated: list[str]


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    ambiguous = _Ambiguous(values)
    ambiguous.repeated = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    return ambiguous


def _integer(text: str) -> int | Misread:
    return _misread(text) if text == "-0" or len(text) > LONGEST_INTEGER_DIGITS else int(text)


def _misread(text: str) -> Misread:
    return Misread(text, "0" if text == "-0" else "a number", language="JSON")


def _repeated(value: Any) -> Iterator[Problem]:
    """Yield the keys given twice, wherever they are; not by recursion, which deep nesting would exhaust."""
    left: list[tuple[Location, Any]] = [((), value)]
    while left:
        location, value = left.pop()
        if isinstance(value, _Ambiguous):
            for key in value.repeated:
                yield (*location, key), "the same key is given twice"
        if isinstance(value, dict):
            left += (((*location, key), inner) for key, inner in value.items())
        elif isinstance(value, list):
            left += (((*location, index), inner) for index, inner in enumerate(value))
