"""What a valid configuration says, as the other modules take it: frozen, with defaults, secrets masked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from exporter.sharding import ALONE, Shard, Share


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class ApiSettings(_Settings):
    """How one tenant's API is asked."""

    url: str
    """Without a slash at its end."""
    key_id: str
    key_type: Literal["advanced", "standard"] = "advanced"
    key: SecretStr
    key_file: Path | None = None
    """Where the key was read from, if from a file: it may be rotated there."""
    requests_per_second: float = 5.0
    timeout_seconds: float = 10.0
    ca_file: Path | None = None
    ca_digest: str | None = None
    """Of the CA file's content: a new one under the same name is a change."""
    proxy_url: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One script execution to track. There are thousands: no model, which takes several times the memory."""

    id: str
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values, sorted by name."""


class Tenant(_Settings):
    """One Cortex XDR tenant, and what is tracked there."""

    name: str | None = None
    """None for the only tenant of a configuration without ``tenants``."""
    api: ApiSettings
    actions: tuple[Action, ...] = ()
    action_files: tuple[str, ...] = ()
    """Patterns of files with further actions, each complete: the configuration's folder is part of it."""


class PollSettings(_Settings):
    """How often actions are polled, and how long they are kept."""

    interval_seconds: float = 60.0
    settled_interval_seconds: float = 3600.0
    retire_after_seconds: float = 7 * 86_400.0
    """0: never."""
    stale_after_seconds: float = 3600.0
    """0: never."""


class Configuration(_Settings):
    """A whole configuration file, with the tenants of this shard."""

    tenants: tuple[Tenant, ...]
    names: tuple[str | None, ...]
    """Of all tenants in the order of the file, on whichever shard."""
    shard: Shard = ALONE
    poll: PollSettings = PollSettings()
    state_path: Path | None = None
    """The SQLite file that outlives a restart."""
    path: Path = Path("config.yaml")
    """The file that it was read from, as messages name it."""

    @property
    def named(self) -> bool:
        """True where ``tenants`` is used: every metric of a tenant then carries its name."""
        return any(name is not None for name in self.names)

    @property
    def share(self) -> Share | None:
        """Which of the tenants are here, where there are several shards."""
        return Share(self.shard, len(self.tenants), len(self.names)) if self.shard.total > 1 else None
