"""What the abuse campaign's verdict rests on: reading logs, counting, and the list of malformed requests."""

from abuse import malformed
from abuse.scale import FULL, SHORT
from abuse.verdict import Findings, Row, kinds_in_a_minute, milliseconds, table


def test_kinds_of_lines_differ_in_more_than_numbers() -> None:
    """Of each kind the most is counted that any minute has, wherever it begins; lines without a time, too."""
    log = """\
ts=2026-01-31T12:00:50.000000Z level=warn msg="cut" kind=idle times=3
ts=2026-01-31T12:01:10.000000Z level=warn msg="cut" kind=idle times=40
ts=2026-01-31T12:01:20.000000Z level=warn msg="cut" kind=slow times=1
ts=2026-01-31T12:02:20.000000Z level=warn msg="cut" kind=slow times=1
Traceback
"""
    assert kinds_in_a_minute(log) == {
        'level=warn msg="cut" kind=idle times=N': 2,
        'level=warn msg="cut" kind=slow times=N': 1,
        "Traceback": 1,
    }


def test_findings_are_kept_or_missed_by_their_numbers() -> None:
    """A bound may be reached and not passed; what has to be true of all is missed by one; a note has no bound."""
    said: list[str] = []
    findings = Findings(said.append)
    findings.begin("a case")
    findings.at_most("time", 0.1, 0.1, milliseconds)
    findings.at_most("time", 0.2, 0.1, milliseconds, "median 3 ms")
    findings.require("cut", [], 7)
    findings.require("cut", ["one stayed", ""], 7)
    findings.note("answers", "5")
    assert findings.rows == [
        Row("a case", "time", "100 ms", "at most 100 ms", "", kept=True),
        Row("a case", "time", "200 ms", "at most 100 ms", "median 3 ms", kept=False),
        Row("a case", "cut", "7 of 7", "all", "", kept=True),
        Row("a case", "cut", "5 of 7", "all", "not so: one stayed", kept=False),
        Row("a case", "answers", "5", "", "", kept=True),
    ]
    assert said == ["a case", str(findings.rows[1]), str(findings.rows[3])]


def test_table_names_each_case_once() -> None:
    """Rows stand below their case, with the verdict where there is a bound."""
    rows = [
        Row("one", "time", "1 ms", "at most 2 ms", "median 1 ms"),
        Row("one", "cut", "0 of 1", "all", "not so: it stayed", kept=False),
        Row("two", "CPU", "3 %", "", ""),
    ]
    assert [" ".join(line.split()) for line in table(rows).splitlines()] == [
        "one",
        "time 1 ms at most 2 ms kept median 1 ms",
        "cut 0 of 1 all MISSED not so: it stayed",
        "two",
        "CPU 3 %",
    ]


def test_scrapes_are_timed_at_full_scale_only() -> None:
    """In short a scrape may take long, so that no test is timed."""
    assert FULL.scrape_bound(0.1) == 0.1
    assert SHORT.scrape_bound(0.1) > 10


def test_malformed_requests_are_different_and_have_a_clause() -> None:
    """Each has a name and bytes of its own, and the clause that it is judged by."""
    requests = [
        *malformed.MALFORMED,
        *malformed.SMUGGLING,
        *malformed.FOLLOWED,
        *malformed.ELSEWHERE,
        *malformed.UNUSUAL,
    ]
    assert len({request.name for request in requests}) == len(requests)
    assert len({request.content for request in requests}) == len(requests)
    assert all(request.clause for request in requests)
