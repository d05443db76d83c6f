"""What may be asked of the overview: every parameter, its bounds, the words for what is wrong, and links."""

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.query import Query, QueryError, Show, Sort

KNOWN = "known are: group, sort, order, text, label, show, tenant, page, per_page"
SORTS = "attention, progress, failed, total, eta, age, id"
SHOWS = "all, attention, active, settled, failing, waiting, stale, retired"
NAME = "no label's name: letters, digits and underscores, not beginning with a digit"

QUERIES = st.builds(
    Query,
    group=st.none() | st.from_regex("[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True),
    sort=st.sampled_from(Sort),
    descending=st.booleans(),
    text=st.text(max_size=200).map(str.strip),
    label=st.none()
    | st.tuples(st.from_regex("[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True), st.none() | st.text()),
    show=st.sampled_from(Show),
    tenant=st.none() | st.text(min_size=1, max_size=200),
    page=st.integers(1, 100_000),
    per_page=st.integers(1, 1000),
)


def refused(*parameters: tuple[str, str]) -> list[str]:
    """Parse parameters that are no query, and return what is wrong with them."""
    with pytest.raises(QueryError) as raised:
        Query.parse(parameters)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return raised.value.problems


def test_nothing_asked_for_is_the_default() -> None:
    """Without parameters all actions come by attention, a hundred on a page."""
    default = Query(
        group=None,
        sort=Sort.ATTENTION,
        descending=False,
        text="",
        label=None,
        show=Show.ALL,
        tenant=None,
        page=1,
        per_page=100,
    )
    assert Query.parse([]) == Query() == default


def test_every_parameter_is_read() -> None:
    """Each has its field."""
    parameters = [
        ("group", "campaign"),
        ("sort", "eta"),
        ("order", "desc"),
        ("text", "team=ops & co"),
        ("label", "wave=a=b "),
        ("show", "failing"),
        ("tenant", "acme"),
        ("page", "7"),
        ("per_page", "1000"),
    ]
    query = Query("campaign", Sort.ETA, True, "team=ops & co", ("wave", "a=b "), Show.FAILING, "acme", 7, 1000)  # noqa: FBT003 - as in the class
    assert Query.parse(parameters) == query
    assert query.parameters() == parameters


def test_empty_values_count_as_left_out() -> None:
    """A form sends all its fields, those that nobody has filled in as well."""
    names = ["group", "sort", "order", "text", "label", "show", "tenant", "page", "per_page", "refresh"]
    assert Query.parse([(name, "") for name in names]) == Query()


def test_refresh_is_the_pages_own() -> None:
    """It is passed over, whatever it says and however often."""
    assert Query.parse([("refresh", "x"), ("refresh", "30"), ("page", "2")]) == Query(page=2)


@pytest.mark.parametrize(
    ("sort", "descends"),
    [
        (Sort.ATTENTION, False),
        (Sort.PROGRESS, False),
        (Sort.FAILED, True),
        (Sort.TOTAL, True),
        (Sort.ETA, False),
        (Sort.AGE, True),
        (Sort.ID, False),
    ],
)
def test_each_sort_has_its_own_direction(sort: Sort, *, descends: bool) -> None:
    """What somebody wants to see first comes first, unless another order is asked for."""
    assert Query.parse([("sort", sort)]) == Query(sort=sort, descending=descends)
    assert Query.parse([("order", "asc"), ("sort", sort)]) == Query(sort=sort)
    assert Query.parse([("sort", sort), ("order", "desc")]) == Query(sort=sort, descending=True)


@pytest.mark.parametrize(
    ("parameter", "label"),
    [("wave=1", ("wave", "1")), ("wave==", ("wave", "=")), ("wave=", ("wave", "")), ("wave", ("wave", None))],
)
def test_label_has_a_value_or_is_missing(parameter: str, label: tuple[str, str | None]) -> None:
    """All after the first equals sign is the value; without one, actions without that label are meant."""
    assert Query.parse([("label", parameter)]) == Query(label=label)
    assert Query(label=label).parameters() == [("label", parameter)]


def test_text_loses_the_spaces_around_it() -> None:
    """They come with what is pasted; a tenant's name may have them."""
    parameters = [("text", " 225\n"), ("tenant", " acme ")]
    assert Query.parse(parameters) == Query(text="225", tenant=" acme ")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("sort", "name", f"sort: 'name' is none of {SORTS}"),
        ("sort", "ID", f"sort: 'ID' is none of {SORTS}"),
        ("order", "up", "order: 'up' is neither asc nor desc"),
        ("show", "broken", f"show: 'broken' is none of {SHOWS}"),
        ("group", "a-b", f"group: 'a-b' is {NAME}"),
        ("group", "é", f"group: 'é' is {NAME}"),
        ("group", "a\n", rf"group: 'a\n' is {NAME}"),
        ("group", "a" * 201, f"group: '{'a' * 40}…' is {NAME}"),
        ("text", "a" * 201, "text: must not be longer than 200 characters"),
        ("label", "a-b=c", f"label: 'a-b' is {NAME}"),
        ("label", "=c", f"label: '' is {NAME}"),
        ("label", "a=" + "b" * 1999, "label: must not be longer than 2000 characters"),
        ("tenant", "a" * 201, "tenant: must not be longer than 200 characters"),
        ("page", "0", "page: '0' is no number from 1 to 100000"),
        ("page", "100001", "page: '100001' is no number from 1 to 100000"),
        ("page", "-1", "page: '-1' is no number from 1 to 100000"),
        ("page", "1.0", "page: '1.0' is no number from 1 to 100000"),
        ("page", "1_0", "page: '1_0' is no number from 1 to 100000"),
        ("page", "٣", "page: '٣' is no number from 1 to 100000"),
        ("page", "9" * 5000, f"page: '{'9' * 40}…' is no number from 1 to 100000"),
        ("per_page", "1001", "per_page: '1001' is no number from 1 to 1000"),
        ("per_page", "all", "per_page: 'all' is no number from 1 to 1000"),
        ("campaign", "x", f"'campaign': unknown parameter; {KNOWN}"),
        ("", "x", f"'': unknown parameter; {KNOWN}"),
        ("descending", "true", f"'descending': unknown parameter; {KNOWN}"),
        ("x" * 41, "", f"'{'x' * 40}…': unknown parameter; {KNOWN}"),
        ("\x1b[2J\ud800", "", rf"'\x1b[2J\ud800': unknown parameter; {KNOWN}"),
    ],
)
def test_wrong_parameter_is_told(name: str, value: str, problem: str) -> None:
    """The words name the parameter, what is wrong with it, and what would be right."""
    assert refused((name, value)) == [problem]


def test_all_that_is_wrong_is_told_at_once() -> None:
    """In the order in which it came; a parameter given twice is wrong even with the same value."""
    assert refused(("page", "x"), ("show", "all"), ("show", "all"), ("colour", "red")) == [
        "page: 'x' is no number from 1 to 100000",
        "show: is given more than once; give one value",
        f"'colour': unknown parameter; {KNOWN}",
    ]


def test_words_are_bounded() -> None:
    """However much is wrong, twenty things are told, and how many more there are."""
    assert len(refused(*((f"p{number}", "") for number in range(20)))) == 20
    problems = refused(*((f"p{number}", "") for number in range(1000)))
    assert len(problems) == 21
    assert problems[0] == f"'p0': unknown parameter; {KNOWN}"
    assert problems[20] == "… and 980 more"


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({}, [("group", "team"), ("sort", "failed"), ("page", "3")]),
        ({"page": 4}, [("group", "team"), ("sort", "failed"), ("page", "4")]),
        ({"page": 1}, [("group", "team"), ("sort", "failed")]),
        ({"group": None}, [("sort", "failed")]),
        ({"show": Show.STALE}, [("group", "team"), ("sort", "failed"), ("show", "stale")]),
        (
            {"show": Show.STALE, "page": 2},
            [("group", "team"), ("sort", "failed"), ("show", "stale"), ("page", "2")],
        ),
        ({"descending": False}, [("group", "team"), ("sort", "failed"), ("order", "asc")]),
        ({"sort": Sort.ATTENTION}, [("group", "team")]),
        ({"sort": Sort.AGE}, [("group", "team"), ("sort", "age")]),
        ({"sort": Sort.AGE, "descending": False}, [("group", "team"), ("sort", "age"), ("order", "asc")]),
        ({"per_page": 20}, [("group", "team"), ("sort", "failed"), ("per_page", "20")]),
    ],
)
def test_links_lead_to_a_changed_query(changes: dict[str, Any], parameters: list[tuple[str, str]]) -> None:
    """Defaults are left out; another page keeps all else, and any other change begins at the first page."""
    query = Query(group="team", sort=Sort.FAILED, descending=True, page=3)
    assert query.parameters(**changes) == parameters


@settings(deadline=None)  # A busy machine is no failure.
@given(QUERIES)
def test_parameters_lead_back_to_the_query(query: Query) -> None:
    """A link is the query that it stands for, with any text in it."""
    assert Query.parse(query.parameters()) == query
    assert Query.parse(query.parameters(page=5)) == replace(query, page=5)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["group", "sort", "order", "text", "label", "show", "tenant", "page", "per_page"])
            | st.text(),
            st.sampled_from([*Sort, *Show, "asc", "desc"]) | st.text(string.digits) | st.text(),
        ),
        max_size=30,
    )
)
def test_any_parameters_are_a_query_or_an_error_in_words(parameters: list[tuple[str, str]]) -> None:
    """What is no query is told in lines that can be printed, sent and read."""
    problems: list[str] = []
    query = Query()
    try:
        query = Query.parse(parameters)
    except QueryError as error:
        problems = error.problems
    assert len(problems) <= 21
    assert all(problem.isprintable() and len(problem.encode()) < 1000 for problem in problems)
    assert Query.parse(query.parameters()) == query
