"""Which of several exporter processes has a tenant: each name is on exactly one of them.

The rule: it follows from the tenant's name and the number of shards alone, in every process and every version.
"""

import hashlib
import re
from dataclasses import dataclass

MOST_SHARDS = 1000
"""Whether a shard has a tenant costs a hash for each of them."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``total`` processes that share the tenants; ``index`` counts from 0."""

    index: int = 0
    total: int = 1

    def owns(self, tenant: str | None) -> bool:
        """Tell whether the tenant of that name, None for the unnamed one, is on this shard.

        By rendezvous hashing: each shard has a score for the name, and the highest has it. With one shard more,
        a tenant either stays or moves to the new one.
        """
        name = tenant or ""
        scores = [hashlib.sha256(f"{index} {name}".encode()).digest() for index in range(self.total)]
        return scores[self.index] == max(scores)


ALONE = Shard()


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the ``configured`` tenants, those of all shards, are on this one."""

    shard: Shard
    tenants: int
    configured: int

    @property
    def words(self) -> str:
        """Say it: ``shard 1 of 3, counted from 0: 4 of 11 tenants``."""
        tenants = "tenant" if self.configured == 1 else "tenants"
        return (
            f"shard {self.shard.index} of {self.shard.total}, counted from 0: "
            f"{self.tenants} of {self.configured} {tenants}"
        )


def choose(index: int | None, total: int, *, host_name: str) -> Shard:
    """Return the shard that a process is, without an index by the ordinal at the end of its host's name.

    Raise ValueError where that says nothing, or no shard has that index.
    """
    of_the_host = ""
    if index is None and total > 1:
        index = _ordinal(host_name)
        if index is None:
            raise ValueError(
                f"must be given: the host name {host_name!r} does not end in an ordinal, "
                "as cortex-xdr-exporter-2 does"
            )
        of_the_host = f", the ordinal of the host name {host_name!r}"
    if index is not None and index >= total:
        most = "0" if total == 1 else f"from 0 to {total - 1}"
        raise ValueError(f"must be {most} with --shard.total={total}, not {index}{of_the_host}")
    return Shard(index or 0, total)


def _ordinal(host_name: str) -> int | None:
    """Return the 2 of ``cortex-xdr-exporter-2``, the name of a StatefulSet's pod, with or without its domain."""
    match = re.fullmatch(r"[^.]*-(0|[1-9][0-9]{0,8})(?:\..*)?", host_name)
    return None if match is None else int(match[1])
