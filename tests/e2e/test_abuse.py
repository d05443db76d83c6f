"""The abuse campaign in short: every case of ``make abuse`` with few clients, and the bounds of slow machines.

Deadlines are twice the bound, and a scrape beside an abuse has to be answered, however long it takes.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from abuse import slow
from abuse.campaign import CASES, run
from abuse.scale import SHORT
from abuse.verdict import Findings, table

_WAITING = {"idle", "readers"}
"""What takes a minute each, and runs in another way here."""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Findings]]:
    """Let clients be idle and read slowly, while other tests run."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run, slow.wait_in_all_ways, tmp_path_factory.mktemp("waiting"), SHORT, _ignore)


@pytest.fixture(scope="module", autouse=True)
def _early(request: pytest.FixtureRequest) -> None:
    """Begin with what takes longest, if it is to run at all."""
    if any(item.name == test_clients_that_wait_are_cut.__name__ for item in request.session.items):
        request.getfixturevalue("waiting")


@pytest.mark.parametrize("case", sorted(CASES.keys() - _WAITING))
def test_abuse_is_refused_or_cut(case: str, tmp_path: Path) -> None:
    """Scrapes beside it are answered, and afterwards memory and file handles are as before."""
    assert_kept(run(CASES[case], tmp_path, SHORT, _ignore))


def test_clients_that_wait_are_cut(waiting: Future[Findings]) -> None:
    """Idle connections and slow readers of 10 MB end, cost little memory, and do not lock scrapes out."""
    assert_kept(waiting.result())


def assert_kept(findings: Findings) -> None:
    """Fail with the whole table if a bound was missed."""
    assert findings.rows
    assert all(row.kept for row in findings.rows), "\n" + table(findings.rows)


def _ignore(_: str) -> None:
    pass
