"""Writes docs/configuration.md: the text below, and a table for each section of the configuration's models."""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import PlainValidator
from pydantic.fields import FieldInfo
from support import ROOT

from exporter import durations
from exporter.config.entries import KEYS
from exporter.config.schema import (
    KEY_SOURCES,
    ApiSection,
    FileSection,
    PollSection,
    Section,
    StateSection,
    TenantSection,
)

FILE = ROOT / "docs" / "configuration.md"

_VALUES = {
    "api_url": "https URL",
    "key_id": "number",
    "key_type": "`advanced` or `standard`",
    "_key_from_file": "file",
    "_key_from_environment": "name",
    "key": "text",
    "requests_per_second": "number above 0, at most 10",
    "timeout": "duration above 0s, at most 1d",
    "_ca_file": "file, or `null`",
    "proxy_url": "http or https URL, or `null`",
    "_state_path": "file, or `null`",
    "duration": "duration",
    "positive_duration": "duration above 0s",
    "tenant_name": "text of 1 to 128 characters",
    "_actions": "list of [actions](#actions)",
}
"""What a key takes, by the name of the function that validates it."""
_UNVALIDATED = {
    "api": "[section](#api)",
    "action_files": "list of [patterns](#files)",
    "tenants": "list of [tenants](#tenants)",
    "poll": "[section](#poll)",
    "state": "[section](#state)",
}
"""The same by its name, for keys whose value is validated in pieces."""
_ENTRY_VALUES = {
    "id": "integer, or text of 1 to 128 characters without spaces",
    "labels": "mapping of names to text or integers",
}
_IN_SECONDS = ("duration", "positive_duration", "timeout")

_TEXT = """\
<!-- Written by make docs, from the models in exporter/config. -->

# Configuration

The exporter reads one YAML file, `config.yaml` in the working directory or what `--config.file` names.
[config.example.yaml](../config.example.yaml) is such a file with every key. The smallest one that does
something:

```yaml
api:
  url: https://api-acme.xdr.us.paloaltonetworks.com
  key_id: 7
  key_file: /etc/cortex-xdr-exporter/key
actions: [22519813685366]
```

`cortex-xdr-exporter --config.check` reads it, with the key files, certificates and action files that it names,
and tells all that is wrong with it at once. A key that is not listed here is an error, as is one that is given
twice. TLS and passwords of the web port are in [a file of their own](web-configuration.md), and addresses are
[flags](../README.md#http).

## The file

{file}

Of `api` and `tenants` there is one. A section that is there, and has everything commented out, is as good as
none; `api` is not.

## `api`

{api}

Where a table says *one of them*, exactly one of the three is given. A key file, and an environment variable, may
end in a line break.

A URL is refused if it begins with `api-api-`, goes on after the host with `/public_api`, holds credentials, or
is plain http to anything but a loopback address.

## `actions`

Entries of `actions`, and of action files, are an ID, or a mapping:

{actions}

An ID that is no plain decimal, such as `0x1F` or `1_000`, goes in quotes. The same one twice in a tenant is an
error; across action files it is a warning and a metric. Label names are those of Prometheus; `action_id`,
`status`, `general_status`, `tenant`, `reason`, `job`, `instance` and names that begin with `__` are taken.

## `poll`

{poll}

## `state`

{state}

Each process needs a file of its own, on a file system with locks.

## `tenants`

{tenants}

```yaml
tenants:
  - name: acme
    api: {{url: https://api-acme.xdr.us.paloaltonetworks.com, key_id: 7, key_file: acme.key}}
    actions: [22519813685366]
  - name: globex
    api: {{url: https://api-globex.xdr.eu.paloaltonetworks.com, key_id: 12, key_file: globex.key}}
    action_files: [globex.d/*.yaml]
```

## Durations

As in Prometheus: `500ms`, `90s`, `1h30m`, `7d`. The units are y, w (7d), d, h, m, s and ms, in this order; `0s`
and `0` are none.

## Files

A relative path starts at the folder of the configuration file, not at the working directory. A pattern is a path
in which `*` stands for any characters, `?` for one, `[ab]` for one of these, and `**` for folders at any depth.
An action file is a list of [actions](#actions) in YAML, or in JSON where its name ends in `.json`.

A file may be up to 8 MiB large, about 100,000 actions with labels. A Kubernetes ConfigMap holds 1 MiB: where
actions outgrow it, put them into action files of several ConfigMaps.

## Changes

Action files are watched, and a key file is looked at before each request. The configuration file is read anew
when it has changed, on SIGHUP, and on `POST /-/reload` where that is enabled: as a whole or, if anything is
wrong with it, not at all. A file that is mounted as a `subPath` in Kubernetes never changes; mount its folder.
`state.path` and environment variables take a restart.

## Secrets

The API key is the only one that is needed. Prefer `key_file`: the file can belong to the exporter's user alone,
and the key in it can be rotated without a reload. With `key`, or a password in `proxy_url`, the configuration
itself is a secret: in Kubernetes, not a ConfigMap. [docs/security.md](security.md) says what becomes of a key.
"""


def render() -> str:
    """Return the document's text."""
    return _TEXT.format(
        file=_table(_section(FileSection)),
        api=_table(_section(ApiSection)),
        actions=_table(
            (key, _ENTRY_VALUES[key], "required" if key == "id" else "none", KEYS[key]) for key in KEYS
        ),
        poll=_table(_section(PollSection)),
        state=_table(_section(StateSection)),
        tenants=_table(_section(TenantSection)),
    )


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    lines = [f"| `{key}` | {value} | {default} | {text} |" for key, value, default, text in rows]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *lines])


def _section(section: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    texts = dict(_texts(section))
    for key, field in section.model_fields.items():
        validator = next((item.func.__name__ for item in field.metadata if isinstance(item, PlainValidator)), "")
        yield key, _VALUES.get(validator) or _UNVALIDATED[key], _default(key, field, validator), texts[key]


def _texts(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Yield the text that stands below each key in the source: Python keeps none of it."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    for statement, below in pairwise(definition.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                yield key, " ".join(text.split())


def _default(key: str, field: FieldInfo, validator: str) -> str:
    value: Any = field.default
    if field.is_required():
        return "required"
    if key in KEY_SOURCES:
        return "one of them"
    if value in (None, (), []) or isinstance(value, Section):
        return "none"
    if validator in _IN_SECONDS:
        return f"`{durations.render(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
