"""A chart's values: each with its type of the schema, its default, and the comment above it in ``values.yaml``.

The rule: a mapping is gone into where a comment is inside it; any other value is shown as a whole.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

Json = Mapping[str, Any]


class Value(NamedTuple):
    """A value of the chart: its dotted key, and what stands above it; without default where parts of it follow."""

    key: str
    description: str
    default: str | None


def table(text: str, schema: Json) -> str:
    """Return the Markdown table of all values.

    | value | type | default | meaning |
    |---|---|---|---|
    | `shards` | integer | `1` | Processes that share the tenants by their names. |
    """
    rows = [("value", "type", "default", "meaning"), ("---",) * 4]
    for value in values(text):
        default = "" if value.default is None else _code(value.default)
        rows.append((_code(value.key), type_of(value.key, schema), default, value.description.replace("|", "\\|")))
    return "".join(f"|{'|'.join(row)}|\n" if row[0] == "---" else f"| {' | '.join(row)} |\n" for row in rows)


def values(text: str) -> list[Value]:
    """Return the values of a ``values.yaml``, in its order."""
    return list(_walk(yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text), text.splitlines(), ""))


def type_of(key: str, schema: Json) -> str:
    """Return what a JSON schema asks of a value: its type, such as ``integer or null``, or what to choose from."""
    part = schema
    for name in key.split("."):
        part = resolved(part, schema)["properties"][name]
    part = resolved(part, schema)
    if "enum" in part:
        return " or ".join(_code(json.dumps(choice)) for choice in part["enum"])
    types = part["type"]
    return " or ".join([types] if isinstance(types, str) else types)


def resolved(part: Json, schema: Json) -> Json:
    """Return a part of a schema, or the definition that it names."""
    if "$ref" in part:
        found: Json = schema
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found
    return part


def _walk(mapping: Any, defaults: Json, lines: list[str], prefix: str) -> Iterator[Value]:
    for key, value in mapping.value:
        default = defaults[key.value]
        name = prefix + key.value
        description = _comment_above(lines, key.start_mark.line)
        inside = lines[key.start_mark.line + 1 : value.end_mark.line]
        if isinstance(value, yaml.MappingNode) and any(_is_comment(line) for line in _without_tail(inside)):
            if description:
                yield Value(name, description, None)
            yield from _walk(value, default, lines, f"{name}.")
        else:
            yield Value(name, description, json.dumps(default, ensure_ascii=False))


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and _is_comment(lines[line - 1]):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(found)


def _without_tail(lines: list[str]) -> list[str]:
    # A block ends where the next key begins, below the comment that is about that.
    while lines and (not lines[-1].strip() or _is_comment(lines[-1])):
        lines = lines[:-1]
    return lines


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")
