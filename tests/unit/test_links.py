"""Where the page's links lead."""

from dataclasses import replace

import pytest
from support_page import overview_of
from support_tenant import tenant_state

from exporter.query import Query, Show, Sort
from exporter.store import ActionState
from exporter.web.links import Links, below, refresh_seconds

QUERY = Query(group="campaign", sort=Sort.FAILED, descending=True, text="a b&c", show=Show.ACTIVE, page=3)
LABELLED = Query(text="IN_PRO", label=("team", "a=b"))


@pytest.mark.parametrize(
    ("parameter", "seconds"),
    [
        (None, 15),
        ("", 15),
        ("0", 0),
        ("5", 5),
        ("999999", 86_400),
        ("1000000", 15),
        ("-1", 15),
        ("1.5", 15),
        ("x", 15),
        ("٣", 15),
    ],
)
def test_refresh_is_seconds_or_the_default(parameter: str | None, seconds: int) -> None:
    """What is no whole number of seconds is as good as left out, and nothing waits for more than a day."""
    assert refresh_seconds(parameter) == seconds


def test_paths_are_relative_and_quoted() -> None:
    """A path holds below a proxy's prefix, and its characters stay its own."""
    assert below("/metrics") == "./metrics"
    assert below('/a:b/"ü') == "./a%3Ab/%22%C3%BC"


def test_links_change_what_they_say_and_carry_the_rest() -> None:
    """Everything but the page, which begins anew, stays as it was asked for."""
    links = Links(QUERY, 15)
    asked = "group=campaign&sort=failed&text=a+b%26c&show=active"
    assert links.to(page=4) == f"./?{asked}&page=4"
    assert links.to(show=Show.STALE) == "./?group=campaign&sort=failed&text=a+b%26c&show=stale"
    assert links.sorted_by(Sort.FAILED) == "./?group=campaign&sort=failed&order=asc&text=a+b%26c&show=active"
    assert links.sorted_by(Sort.ID) == "./?group=campaign&sort=id&text=a+b%26c&show=active"
    assert links.api() == f"./api/v1/actions?{asked}&page=3"
    assert links.without_query() == "./"
    assert links.refreshing(0) == f"./?{asked}&page=3&refresh=0"
    assert links.refreshing(15) == f"./?{asked}&page=3"


def test_links_carry_another_refresh() -> None:
    """Who has stopped the page from refreshing finds it so behind each link, but programs need no such thing."""
    links = Links(QUERY, 0)
    assert links.without_query() == "./?refresh=0"
    assert links.to(page=1).endswith("&refresh=0")
    assert "refresh" not in links.api()
    assert links.carried() == [("sort", "failed"), ("refresh", "0")]
    assert Links(Query(), 15).carried() == []
    assert Links(LABELLED, 15).carried() == [("label", "team=a=b")]
    assert Links(LABELLED, 15).to(label=None) == "./?text=IN_PRO"


@pytest.mark.parametrize(
    ("query", "links"),
    [
        (Query(), {}),
        (
            Query(group="campaign", text="w:1", show=Show.WAITING, page=2),
            {
                "a&b": "./?text=w%3A1&label=campaign%3Da%26b&show=waiting",
                "": "./?text=w%3A1&label=campaign%3D&show=waiting",
                " A": "./?text=w%3A1&label=campaign%3D+A&show=waiting",
                None: "./?text=w%3A1&label=campaign&show=waiting",
            },
        ),
        (Query(group="tenant", label=("team", None)), {"acme": "./?label=team&tenant=acme"}),
        (Query(group="general_status"), {None: "./?label=general_status"}),
        (Query(group="campaign", label=("team", None)), {}),
    ],
)
def test_groups_link_to_their_actions_where_a_query_can_name_them(
    query: Query, links: dict[str | None, str]
) -> None:
    """A link keeps all else that is asked for; values too long, or no Unicode, and a second label have none."""
    values = ["a&b", "", " A", "x" * 2000, "\ud800", None]
    states = [
        ActionState(str(number), () if value is None else (("campaign", value),))
        for number, value in enumerate(values)
    ]
    overview = overview_of(tenant_state(states, name="acme"), query=replace(query, text="", show=Show.ALL, page=1))
    assert Links(query, 15).groups(overview) == links
