"""What the benchmarks' figures rest on: spreads, ratios, goals, the table, and the simulation of freshness."""

import json

import pytest
from benchmarks.freshness import bound, campaign, steady
from benchmarks.table import Figure, Goal, Row, as_data, markdown, number, times_faster, times_the_peer
from benchmarks.tenants import Layout, Moving

HEADER = {"command": "`make bench`", "date": "2026-01-31"}
ROWS = [
    times_faster(
        "scrape",
        Figure.of([1.0, 2.0, 4.0], "ms"),
        "peer",
        Figure.of([500.0, 400.0], "ms"),
        goal=Goal("100 x", at_least=100),
        note="a",
    ),
    times_the_peer(
        "start",
        Figure.of([900.0, 1000.0], "ms"),
        "peer",
        Figure.of([300.0, 400.0], "ms"),
        goal=Goal("2 x", at_most=2),
    ),
    Row(
        what="any second",
        ours=Figure.of([10.0, 12.0]),
        goal=Goal("11", at_most=11, worst=True),
    ),
    Row(what="other", beside="not installed", goal=Goal("15 x", at_least=15)),
    Row(what="no goal", ours=Figure.of([0.5], "s")),
]
TABLE = """\
- command: `make bench`
- date: 2026-01-31

| what       | exporter            | beside                | ratio                  | goal  |              | note |
|------------|---------------------|-----------------------|------------------------|-------|--------------|---|
| scrape     | 2.00 (1.00-4.00) ms | peer 450 (400-500) ms | 350 (200-500) x faster | 100 x | met          | a |
| start      | 950 (900-1,000) ms  | peer 350 (300-400) ms | 2.75 (2.50-3.00) x     | 2 x   | **missed**   |  |
| any second | 11.0 (10.0-12.0)    |                       |                        | 11    | **missed**   |  |
| other      |                     | not installed         |                        | 15 x  | not measured |  |
| no goal    | 0.50 s              |                       |                        |       |              |  |"""


def test_table_shows_spreads_ratios_and_goals() -> None:
    """The header is a list, and each row holds its ratio, or its own figure, against its goal."""
    assert markdown(HEADER, ROWS) == TABLE


def test_data_holds_every_value() -> None:
    """JSON has the header and, of each row, all values that were measured and whether the goal is met."""
    data = json.loads(json.dumps(as_data(HEADER, ROWS[:1])))
    assert data == {
        "header": HEADER,
        "rows": [
            {
                "what": "scrape",
                "ours": {"values": [1.0, 2.0, 4.0], "unit": "ms"},
                "beside": "peer",
                "theirs": {"values": [500.0, 400.0], "unit": "ms"},
                "ratio": {"values": [500.0, 200.0], "unit": "x faster"},
                "goal": {"words": "100 x", "at_least": 100, "at_most": None, "worst": False},
                "note": "a",
                "met": True,
            }
        ],
    }


@pytest.mark.parametrize(
    ("value", "shown"), [(0.126, "0.13"), (9.5, "9.50"), (12.34, "12.3"), (99.0, "99.0"), (1234.5, "1,234")]
)
def test_number_has_three_digits_or_all_before_the_point(value: float, shown: str) -> None:
    """Numbers are as exact as repeated runs agree on."""
    assert number(value) == shown


def test_unfinished_actions_are_spread_over_tenants() -> None:
    """Each tenant has as many as the others, or one more; its action IDs are its own."""
    layout = Layout(tenants=3, actions=10, unfinished=4)
    assert [layout.unfinished_of(tenant) for tenant in range(3)] == [2, 1, 1]
    assert len({number for tenant in range(3) for number in layout.action_ids(tenant)}) == layout.total == 30


def test_counts_differ_at_every_poll_and_add_up() -> None:
    """Two polls at least a twentieth of a second apart see different counts of the same endpoints."""
    moments = [Moving().at(number / 20) for number in range(1000)]
    assert len({moment.counts for moment in moments}) == 1000
    assert {sum(moment.counts) for moment in moments} == {1000}
    assert min(min(moment.counts) for moment in moments) == 0


def test_ages_of_a_light_load_are_those_of_the_interval() -> None:
    """Where the budget suffices, counts are replaced after each interval, and are half as old on average."""
    ages = steady(100, 1)
    assert bound(100) == 60.0
    assert (ages.mean, ages.replaced, ages.most) == pytest.approx((30.2, 60.0, 60.2), abs=1.0)


def test_new_actions_are_polled_first() -> None:
    """New actions take the whole rate until each has been polled, and the others wait that long at most."""
    ages, seconds = campaign(10_000, 1)
    assert seconds == pytest.approx(500 / 5 / 0.98, abs=1.0)
    assert bound(10_000) < ages.most < 2 * bound(10_000)
