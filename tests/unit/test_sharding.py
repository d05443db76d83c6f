"""Which shard has a tenant, and which shard a process is."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.sharding import Shard, Share, choose

NAMES = [f"tenant-{number}" for number in range(1000)]


def owner(tenant: str | None, total: int) -> int:
    """Return the one shard that has a tenant."""
    (index,) = [index for index in range(total) if Shard(index, total).owns(tenant)]
    return index


@settings(deadline=None)  # A busy machine is no failure.
@given(st.none() | st.text(), st.integers(1, 60))
def test_tenant_is_on_exactly_one_shard_and_moves_only_to_a_new_one(name: str | None, total: int) -> None:
    """Over any total each name has one shard; with one shard more it stays there, or is on the new one."""
    assert owner(name, total + 1) in {owner(name, total), total}


@pytest.mark.parametrize("total", [1, 2, 3, 4, 9, 19])
def test_one_shard_more_moves_its_part_of_the_tenants(total: int) -> None:
    """From n to n + 1 shards about 1 / (n + 1) of the tenants move, all to the new shard."""
    moved = [name for name in NAMES if owner(name, total) != owner(name, total + 1)]
    assert {owner(name, total + 1) for name in moved} == {total}
    assert len(moved) == pytest.approx(len(NAMES) / (total + 1), rel=0.25)


def test_many_tenants_are_spread_evenly() -> None:
    """No shard has far more or far fewer than its part."""
    counts = Counter(owner(name, 5) for name in NAMES)
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(count == pytest.approx(200, rel=0.15) for count in counts.values())


def test_tenants_are_where_earlier_versions_had_them() -> None:
    """Another hash would move most of them at an upgrade. Without a name a tenant is where an empty one is."""
    names = (None, "", "acme", "globex", "initech", "umbrella", "Bücher & Söhne", "株式会社")
    assert {total: [owner(name, total) for name in names] for total in (1, 2, 3, 7)} == {
        1: [0, 0, 0, 0, 0, 0, 0, 0],
        2: [0, 0, 0, 0, 1, 1, 1, 1],
        3: [0, 0, 2, 2, 1, 2, 2, 2],
        7: [5, 5, 2, 2, 4, 5, 2, 2],
    }


@pytest.mark.parametrize(
    ("index", "total", "host_name", "shard"),
    [
        (None, 1, "laptop", Shard(0, 1)),
        (None, 1, "cortex-xdr-exporter-2", Shard(0, 1)),
        (0, 1, "cortex-xdr-exporter-2", Shard(0, 1)),
        (1, 3, "cortex-xdr-exporter-2", Shard(1, 3)),
        (0, 2, "laptop", Shard(0, 2)),
        (None, 3, "cortex-xdr-exporter-0", Shard(0, 3)),
        (None, 3, "cortex-xdr-exporter-2", Shard(2, 3)),
        (None, 11, "cortex-xdr-exporter-10", Shard(10, 11)),
        (None, 3, "cortex-xdr-exporter-2.cortex.monitoring.svc.cluster.local", Shard(2, 3)),
    ],
)
def test_shard_is_chosen_by_index_or_host_name(
    index: int | None, total: int, host_name: str, shard: Shard
) -> None:
    """An index is taken as given; of several shards, a process without one is what its host name ends in."""
    assert choose(index, total, host_name=host_name) == shard


@pytest.mark.parametrize(
    ("index", "total", "host_name", "message"),
    [
        (3, 3, "exporter-0", "must be from 0 to 2 with --shard.total=3, not 3"),
        (1, 1, "exporter-0", "must be 0 with --shard.total=1, not 1"),
        (
            None,
            3,
            "exporter-3",
            "must be from 0 to 2 with --shard.total=3, not 3, the ordinal of the host name 'exporter-3'",
        ),
    ],
)
def test_process_that_is_no_shard_is_refused(index: int | None, total: int, host_name: str, message: str) -> None:
    """What is wrong is told with what would be right."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        choose(index, total, host_name=host_name)


@pytest.mark.parametrize(
    "host_name",
    [
        *(
            "",
            "laptop",
            "exporter1",
            "1",
            "exporter-",
            "exporter-01",
            "exporter-1a",
            "exporter-1-",
            "exporter-1\n",
        ),
        *("exporter.example-1", "exporter-7d9f8b6c5-2x9zq", "exporter-\N{SUPERSCRIPT ONE}"),
    ],
)
def test_host_name_without_an_ordinal_is_refused(host_name: str) -> None:
    """Nothing is guessed: two processes that take themselves for the same shard leave tenants out."""
    message = (
        f"must be given: the host name {host_name!r} does not end in an ordinal, as cortex-xdr-exporter-2 does"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        choose(None, 2, host_name=host_name)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (Share(Shard(1, 3), 4, 11), "shard 1 of 3, counted from 0: 4 of 11 tenants"),
        (Share(Shard(0, 2), 0, 1), "shard 0 of 2, counted from 0: 0 of 1 tenant"),
    ],
)
def test_share_is_told_in_words(share: Share, words: str) -> None:
    """By the number that the flag has."""
    assert share.words == words
