"""The configuration: what a file says, checked as a whole before anything of it is used.

Every problem is reported at once, each with the dotted key, and none quotes a secret. The shapes are in
settings, the file's keys in schema, their values in values.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.config import durations
from exporter.config.schema import ActionSection, ApiSection, FileSection, problems_of
from exporter.config.settings import (
    Action,
    ApiSettings,
    Configuration,
    PollSettings,
    Tenant,
)
from exporter.config.yaml_loading import Location, Problem, RefusedError, dotted, read_yaml
from exporter.errors import ConfigurationError
from exporter.ratelimit import PACE

__all__ = [
    "Action",
    "ApiSettings",
    "Configuration",
    "PollSettings",
    "Tenant",
    "load",
    "warnings",
]

_MOST_PROBLEMS = 100


def load(path: Path) -> Configuration:
    """Read and validate a configuration file, and the key and CA files that it names.

    Raise ConfigurationError with every problem: ``config.yaml: actions[3].id: what is wrong, what is right``.
    """
    try:
        raw, problems = read_yaml(path)
    except RefusedError as refusal:
        raise ConfigurationError([f"{path}: {refusal}"]) from None
    if raw is None:
        raise ConfigurationError([f"{path}: is empty: it needs at least api (or tenants)"])
    file = None
    try:
        file = FileSection.model_validate(raw, context=path.parent)
    except ValidationError as error:
        problems += problems_of(error)
    if file is None or problems:
        raise ConfigurationError(_describe(path, raw, problems))
    return Configuration(
        tenants=tuple(_tenants(file)),
        poll=PollSettings(
            interval_seconds=file.poll.interval,
            settled_interval_seconds=file.poll.settled_interval,
            retire_after_seconds=file.poll.retire_after,
            stale_after_seconds=file.poll.stale_after,
        ),
        path=path,
    )


def warnings(configuration: Configuration) -> list[str]:
    """Return what is allowed and still will not work well: a budget too small for the tracked actions."""
    stale_after = configuration.poll.stale_after_seconds
    texts = []
    for index, tenant in enumerate(configuration.tenants):
        rate = tenant.api.requests_per_second
        round_seconds = len(tenant.actions) / (PACE * rate)
        if 0 < stale_after < round_seconds:
            where = "actions" if tenant.name is None else f"tenants[{index}] ({tenant.name})"
            texts.append(
                f"{configuration.path}: {where}: polling {len(tenant.actions)} actions once, at {rate:g} "
                f"requests per second, takes {durations.render(math.ceil(round_seconds))}, longer than "
                f"stale_after ({durations.render(stale_after)}): raise requests_per_second or stale_after"
            )
    return texts


def _describe(path: Path, raw: Any, problems: list[Problem]) -> list[str]:
    problems = sorted(problems, key=lambda problem: list(_position(raw, problem[0])))
    lines = [
        f"{path}: {dotted(location)}: {text}" if location else f"{path}: {text}" for location, text in problems
    ]
    if len(lines) > _MOST_PROBLEMS:
        lines[_MOST_PROBLEMS:] = [f"{path}: … and {len(lines) - _MOST_PROBLEMS} more"]
    return lines


def _position(raw: Any, location: Location) -> Iterator[int]:
    """Yield where a location stands in the file, level by level; a missing key comes last."""
    for part in location:
        if isinstance(part, int):
            yield part
            raw = raw[part]
        else:
            keys = list(raw)
            yield keys.index(part) if part in keys else len(keys)
            raw = raw.get(part)


def _tenants(file: FileSection) -> Iterator[Tenant]:
    if file.api is not None:
        yield _tenant(None, file.api, file.actions)
    for tenant in file.tenants:
        yield _tenant(tenant.name, tenant.api, tenant.actions)


def _tenant(name: str | None, api: ApiSection, actions: Sequence[ActionSection]) -> Tenant:
    return Tenant(
        name=name,
        api=_api(api),
        actions=tuple(Action(id=action.id, labels=action.labels) for action in actions),
    )


def _api(api: ApiSection) -> ApiSettings:
    # Exactly one is there: ApiSection.conflicts has seen to it.
    key = next(key for key in (api.key_file, api.key_env, api.key) if key is not None)
    return ApiSettings(
        url=api.url,
        key_id=api.key_id,
        key_type=api.key_type,
        key=key.secret,
        key_file=key.file,
        requests_per_second=api.requests_per_second,
        timeout_seconds=api.timeout,
        ca_file=api.ca_file,
        proxy_url=api.proxy_url,
    )
