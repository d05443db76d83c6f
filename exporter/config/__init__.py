"""The configuration: what a file says, checked as a whole before anything of it is used.

Every problem is reported at once, each with the dotted key, and none quotes a secret. The shapes are in
settings, the file's keys in schema, their values in values. Action files are read on their own: load leaves
them alone.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from exporter import durations
from exporter.config.action_files import read_actions
from exporter.config.problems import RefusedError, describe
from exporter.config.schema import ApiSection, Context, FileSection, TenantSection, problems_of
from exporter.config.settings import (
    Action,
    ApiSettings,
    Configuration,
    PollSettings,
    Tenant,
)
from exporter.config.yaml_loading import parse_yaml, read_text
from exporter.errors import ConfigurationError
from exporter.files import shown
from exporter.ratelimit import PACE
from exporter.sharding import ALONE, Shard

__all__ = [
    "Action",
    "ApiSettings",
    "Configuration",
    "PollSettings",
    "Tenant",
    "load",
    "read_actions",
    "warnings",
]


def load(path: Path, *, again: bool = False, shard: Shard = ALONE) -> Configuration:
    """Read and validate a configuration file, and the key and CA files that it names for the shard's tenants.

    Tenants of other shards are checked as well, and left out.
    ``again``: what gives its content once, as a pipe does, is refused, since it may have given it before. Raise
    ConfigurationError with every problem: ``config.yaml: actions[3].id: what is wrong, what is right``.
    """
    try:
        raw, problems = parse_yaml(read_text(path, again=again))
    except RefusedError as refusal:
        raise ConfigurationError([f"{shown(path)}: {refusal}"]) from None
    if raw is None:
        raise ConfigurationError([f"{shown(path)}: is empty: it needs at least api (or tenants)"])
    file = None
    try:
        file = FileSection.model_validate(raw, context=Context(path.parent, shard.owns))
    except ValidationError as error:
        problems += problems_of(error)
    if file is None or problems:
        raise ConfigurationError(describe(path, raw, problems))
    tenants = list(_tenants(file))
    return Configuration(
        tenants=tuple(tenant for tenant in tenants if shard.owns(tenant.name)),
        names=tuple(tenant.name for tenant in tenants),
        shard=shard,
        poll=PollSettings(
            interval_seconds=file.poll.interval,
            settled_interval_seconds=file.poll.settled_interval,
            retire_after_seconds=file.poll.retire_after,
            stale_after_seconds=file.poll.stale_after,
        ),
        state_path=file.state.path,
        path=path,
    )


def warnings(configuration: Configuration, counts: Sequence[int]) -> list[str]:
    """Return what is allowed and still will not work well: a budget too small for the tracked actions.

    ``counts`` says how many those are, tenant by tenant: with action files, more than the configuration's own.
    """
    stale_after = configuration.poll.stale_after_seconds
    texts = []
    for tenant, count in zip(configuration.tenants, counts, strict=True):
        rate = tenant.api.requests_per_second
        round_seconds = count / (PACE * rate)
        if 0 < stale_after < round_seconds:
            index = configuration.names.index(tenant.name)
            where = "actions" if tenant.name is None else f"tenants[{index}] ({tenant.name})"
            texts.append(
                f"{configuration.path}: {where}: polling {count} actions once, at {rate:g} "
                f"requests per second, takes {durations.render(math.ceil(round_seconds))}, longer than "
                f"stale_after ({durations.render(stale_after)}): raise requests_per_second or stale_after"
            )
    return texts


def _tenants(file: FileSection) -> Iterator[Tenant]:
    if file.api is not None:
        yield _tenant(None, file.api, file)
    for tenant in file.tenants:
        yield _tenant(tenant.name, tenant.api, tenant)


def _tenant(name: str | None, api: ApiSection, section: FileSection | TenantSection) -> Tenant:
    return Tenant(name=name, api=_api(api), actions=section.actions, action_files=tuple(section.action_files))


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
        ca_file=api.ca_file and api.ca_file.path,
        ca_digest=api.ca_file and api.ca_file.digest,
        proxy_url=api.proxy_url,
    )
