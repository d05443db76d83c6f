"""The status of all actions as a person or a script asks for it, from a real exporter over real sockets."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby
from typing import Any

import pytest
from support import (
    KEY,
    ROOT,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
)
from support_metrics import Metrics, scrape

from exporter.advice import PROBLEMS
from exporter.errors import Reason
from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault, SimulatedTenant
from exporter.store import Phase

PATH = "/api/v1/actions"
JSON = "application/json"
MOVING = Counts(pending=41, in_progress=3, timeout=1, failed=4, completed_successfully=12)
FINISHED = Counts(completed_successfully=9)
SMB = "disable-smbv1"

# What differs from one answer to the next; whether there is an estimate does, too.
TIMES = ("time", "last_success", "last_change", "oldest_success")
VOLATILE = ("age_seconds", "oldest_age_seconds", "host", "poll_lag_seconds", "request_rate_used")
ESTIMATES = ("pace_per_hour", "remaining_seconds", "unmeasured")


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with an action that moves, and one that is finished."""
    return make_tenant(
        {
            "22519813685370": Fixed("IN_PROGRESS", MOVING),
            "22519813685380": Fixed("COMPLETED_SUCCESSFULLY", FINISHED),
        }
    )


@pytest.fixture
def exporter(
    tenant: SimulatedTenant, exporter_process: StartExporter, simulator: StartSimulator
) -> ExporterProcess:
    """Start an exporter for that tenant, which is told of an action too many, and wait until it is ready."""
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant})),
            "actions": [
                {"id": 22519813685370, "labels": {"campaign": SMB, "team": "endpoint-ops"}},
                {"id": 22519813685371, "labels": {"campaign": SMB}},
                {"id": 22519813685380, "labels": {"campaign": "rotate-local-admin"}},
            ],
        }
    )
    wait_until(lambda: process.get("/-/ready").status_code == 200, "ready")
    return process


def ask(process: ExporterProcess, **parameters: str) -> Any:
    """Ask for actions, and return the document."""
    answer = process.get(PATH, parameters=parameters)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)
    return answer.json()


def at_one_moment(process: ExporterProcess) -> tuple[Any, Metrics]:
    """Return a document and a scrape between which nothing was polled."""

    def read() -> tuple[Any, Metrics] | None:
        before, metrics, after = ask(process), scrape(process), ask(process)
        polled = [[action["last_success"] for action in document["actions"]] for document in (before, after)]
        return (before, metrics) if polled[0] == polled[1] else None

    found = wait_until(read, "a moment without a poll")
    assert found
    return found


def ids(document: Any) -> list[str]:
    """Return the IDs of a document's actions."""
    return [action["action_id"] for action in document["actions"]]


def steady(value: Any, key: str = "") -> Any:
    """Return a document without what differs from one answer to the next: that is replaced by its type."""
    if isinstance(value, list):
        return [steady(item) for item in value]
    if isinstance(value, dict):
        return {name: steady(item, name) for name, item in value.items()}
    if key in TIMES and value is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value)
    if key in ESTIMATES:
        assert value is None or isinstance(value, int | float)
        return "estimate"
    return type(value) if key in TIMES + VOLATILE else value


def test_answer_is_as_documented(exporter: ExporterProcess) -> None:
    """The example in the documentation is what an exporter answers, field by field."""
    text = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    url = re.search(r"curl -s 'http://127.0.0.1:10642(.*)'", text)
    assert len(blocks) == 1
    assert url
    answer = exporter.get(url[1])
    assert answer.headers["Cache-Control"] == "no-store"
    assert steady(answer.json()) == steady(json.loads(blocks[0]))


def test_documented_parameters_and_refusal_are_real(exporter: ExporterProcess) -> None:
    """Every parameter of the documentation is known, with every value it names, and so is the error."""
    text = (ROOT / "docs" / "api.md").read_text()
    (error,) = re.findall(r'`(\{"errors": .*\})`', text)
    answer = exporter.get(PATH, parameters={"page": "0"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, JSON)
    assert answer.json() == json.loads(error)
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| .*\|$", text, re.MULTILINE)
    named = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows}
    assert set(named) == {"group", "sort", "order", "show", "text", "label", "tenant", "page`, `per_page"}
    for name, values in named.items():
        assert name not in {"sort", "order", "show"} or values
        for value in values:
            assert exporter.get(PATH, parameters={name: value}).status_code == 200, (name, value)


def test_answer_and_metrics_say_the_same(exporter: ExporterProcess) -> None:
    """Counts, timestamps, phases and rates are those of the exposition; every action is in both."""
    document, metrics = at_one_moment(exporter)
    assert ids(document) == ["22519813685370", "22519813685371", "22519813685380"]
    for action in document["actions"]:
        labels = {"action_id": action["action_id"]}
        assert action["counts"] == (metrics.counts(**labels) or None)
        for field in ("last_success", "last_change"):
            value = metrics.value(f"script_execution_{field}_timestamp_seconds", **labels)
            shown = action[field] and datetime.fromisoformat(action[field]).timestamp()
            assert shown == (None if value is None else pytest.approx(value, abs=1e-6))
        failed = metrics.value("script_execution_poll_success", **labels) == 0
        assert (action["problem"] is not None) is failed
        own = metrics.values("script_execution_labels", **labels, **action["labels"])
        assert own == [1.0]
    (of_tenant,) = document["tenants"]
    assert of_tenant["phases"] == {phase: metrics.phases().get(phase, 0) for phase in Phase}
    assert (of_tenant["up"], of_tenant["request_rate_limit"], of_tenant["request_rate_demand"]) == (
        metrics.value("up") == 1,
        metrics.value("exporter_request_rate_limit"),
        pytest.approx(metrics.value("exporter_request_rate_demand"), abs=1e-6),
    )
    assert document["totals"]["phases"] == of_tenant["phases"]


def test_pages_hold_every_action_once(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """Of two tenants with the same IDs; groups stay together and add up, filters and orders do what they say."""
    numbers = range(1, 31)
    lives = {str(n): Fixed("IN_PROGRESS", Counts(pending=n, failed=n % 3)) for n in numbers}
    url = simulator({name: make_tenant(lives) for name in ("one", "two")})
    process = exporter_process(
        {
            "tenants": [
                {
                    "name": name,
                    "api": api_section(f"{url}/{name}", requests_per_second=10),
                    "actions": [{"id": n, "labels": {"wave": str(n % 4)}} for n in numbers],
                }
                for name in ("one", "two")
            ]
        }
    )
    wait_until(lambda: ask(process)["totals"]["unknown"] == 0, "every action is polled")
    whole = ask(process, group="wave")
    assert sum(group["totals"]["total"] for group in whole["groups"]) == whole["totals"]["total"] == 2 * (465 + 30)
    pages = [ask(process, group="wave", per_page="7", page=str(page)) for page in range(1, 10)]
    assert [page["pages"] for page in pages] == [9] * 9
    found = [action for page in pages for action in page["actions"]]
    assert sorted((action["tenant"], int(action["action_id"])) for action in found) == [
        (name, n) for name in ("one", "two") for n in numbers
    ]
    waves = [wave for wave, _ in groupby(action["labels"]["wave"] for action in found)]
    assert waves == [group["value"] for group in whole["groups"]]
    assert ask(process, page="2")["actions"] == []
    assert ids(ask(process, tenant="one", sort="total", per_page="3")) == ["29", "30", "28"]
    assert ids(ask(process, tenant="one", sort="total", order="asc", per_page="3")) == ["1", "3", "2"]
    assert ids(ask(process, tenant="one", text="wave=1", sort="id", per_page="3")) == ["1", "5", "9"]
    assert (ask(process, show="attention")["matching"], ask(process, show="failing")["matching"]) == (40, 0)


@pytest.mark.parametrize("path", [PATH, "/"])
def test_wrong_parameters_are_refused(exporter: ExporterProcess, path: str) -> None:
    """With 400 and all that is wrong, in JSON or on a page; what came in is shown as text and nothing else."""
    answer = exporter.get(path, parameters={"sort": "<script>", "page": "-1", "<b>": "é\x00"})
    problems = [
        "sort: '<script>' is none of attention, progress, failed, total, eta, age, id",
        "page: '-1' is no number from 1 to 100000",
        "'<b>': unknown parameter; known are: group, sort, order, text, label, show, tenant, page, per_page",
    ]
    assert answer.status_code == 400
    if path == PATH:
        assert answer.headers["Content-Type"] == JSON
        assert answer.json() == {"errors": problems}
    else:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "&lt;script&gt;" in answer.text
        assert "<script>" not in answer.text
        assert "<b>" not in answer.text


@pytest.mark.parametrize("query", ["page=%FF", "%FF=1", "text=%ED%A0%80&sort=%00", "a=1&" * 500, "=&=&&;", "?"])
def test_hostile_parameters_are_answered(exporter: ExporterProcess, query: str) -> None:
    """Whatever bytes they are made of, the answer is JSON or a page, and bounded."""
    answer = exporter.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert 1 <= len(answer.json()["errors"]) <= 21
    assert len(answer.content) < 10_000
    assert exporter.get(f"/?{query}").status_code == 400


def test_what_the_api_says_reaches_no_page_unescaped(
    tenant: SimulatedTenant, simulator: StartSimulator, exporter_process: StartExporter
) -> None:
    """Its words are in the problem, printable; a key that an error page quotes is not."""
    tenant.key_type = "standard"
    body = json.dumps({"reply": {"err_code": 500, "err_msg": f"\x1b[1m</script>\ud800 Authorization: {KEY}"}})
    tenant.inject(Fault(status=500, body=body.encode()))
    api = api_section(simulator({"": tenant}), key_type="standard")
    process = exporter_process({"api": api, "actions": [22519813685370]})
    wait_until(lambda: ask(process)["actions"][0]["phase"] == "failing", "a poll fails")
    answer = process.get(PATH)
    problem = answer.json()["actions"][0]["problem"]
    assert problem == {
        "reason": "server_error",
        "words": PROBLEMS[Reason.SERVER_ERROR][0],
        "advice": PROBLEMS[Reason.SERVER_ERROR][1],
        "detail": "HTTP 500: ?[1m</script>? Authorization: [key]",
        "said": True,
    }
    assert answer.json()["tenants"][0]["problem"] == problem
    page = process.get("/")
    assert page.status_code == 200
    assert KEY not in answer.text + page.text
    assert "</script>?" not in page.text


def test_problem_goes_with_the_next_success(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """While polls fail the counts stay with their age; when they succeed again nothing is wrong."""
    tenant = make_tenant({"1": Fixed("IN_PROGRESS", MOVING)})
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant})),
            "actions": [1],
            "poll": {"interval": "500ms", "settled_interval": "500ms"},
        }
    )
    wait_until(lambda: ask(process)["actions"][0]["counts"], "a poll succeeds")
    tenant.inject(Fault(status=500, body=b"busy"))
    wait_until(lambda: ask(process)["actions"][0]["problem"], "a poll fails")
    document = ask(process)
    assert (document["actions"][0]["counts"], document["tenants"][0]["health"]) == (MOVING._asdict(), "unwell")
    tenant.clear()
    wait_until(lambda: ask(process)["actions"][0]["problem"] is None, "a poll succeeds again")
    assert ask(process)["tenants"][0]["health"] == "well"


def test_pace_is_measured_from_polls(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """An action that stands still has the pace 0 and no end in sight."""
    tenant = make_tenant({"1": Fixed("IN_PROGRESS", MOVING)})
    process = exporter_process(
        {"api": api_section(simulator({"": tenant})), "actions": [1], "poll": {"interval": "300ms"}}
    )
    wait_until(lambda: ask(process)["actions"][0]["pace_per_hour"] is not None, "a pace is known")
    action = ask(process)["actions"][0]
    assert (action["pace_per_hour"], action["remaining_seconds"]) == (0.0, None)


def test_telemetry_path_takes_the_pages_place(exporter_process: StartExporter) -> None:
    """At / there is no page then, nor what it loads; the document stays."""
    process = exporter_process({"api": api_section("https://api-acme.example")}, "--web.telemetry-path=/")
    assert process.get("/").headers["Content-Type"].startswith("text/plain")
    assert process.get("/-/page.css").status_code == 404
    assert ask(process)["tenants"][0]["verdict"] == "No actions are tracked."


def test_page_and_its_files_are_served(exporter: ExporterProcess) -> None:
    """The page is never kept; its files are, for ever under the links of the page, else until they change."""
    page = exporter.get("/", parameters={"group": "campaign", "refresh": "30"})
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "Server" not in page.headers
    assert '<a href="./metrics">' in page.text
    links = re.findall(r'"\.(/-/(?:page|icon)\.[a-z]+)(\?v=[0-9a-f]+)"', page.text)
    assert {path for path, _ in links} == {"/-/page.css", "/-/page.js", "/-/icon.svg"}
    for path, version in links:
        lasting, asked_again = exporter.get(path + version), exporter.get(path)
        assert (lasting.status_code, lasting.content) == (200, asked_again.content)
        assert lasting.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert asked_again.headers["Cache-Control"] == "no-cache"
        same = exporter.get(path, if_none_match=asked_again.headers["ETag"])
        assert (same.status_code, same.content) == (304, b"")


def test_page_beyond_the_end_shows_the_last_one(exporter: ExporterProcess) -> None:
    """Whoever looks at a page that is gone sees what there is; the document says that it is empty."""
    assert "22519813685380" in exporter.get("/", parameters={"page": "9", "per_page": "2"}).text
    document = ask(exporter, page="9", per_page="2")
    assert (document["page"], document["pages"], document["actions"]) == (9, 2, [])


def test_many_who_ask_at_once_are_all_answered(exporter: ExporterProcess) -> None:
    """Answers are worked out one at a time, and scrapes go on beside them."""
    paths: list[Mapping[str, str]] = [{"group": "campaign"}, {"sort": "age"}, {"text": "smb"}, {}] * 10

    def statuses(parameters: Mapping[str, str]) -> tuple[int, ...]:
        return tuple(exporter.get(path, parameters=parameters).status_code for path in (PATH, "/", "/metrics"))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(statuses, paths)) == {(200, 200, 200)}
