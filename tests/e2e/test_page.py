"""The status page in a browser: on a phone and a desktop, in light and dark, with and without a script."""

import json
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support import (
    RUNNING,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    exporter_arguments,
    make_tenant,
    wait_until,
)
from support_browser import DESKTOP, PHONE, Visit, chromium, visit

from exporter.errors import Reason
from exporter.simulator.lives import Counts, Fixed, Life
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Fault, SimulatedTenant
from exporter.state_database import Changes, connect, write
from exporter.status import Status
from exporter.store import ActionState, Record

pytestmark = pytest.mark.needs("chromium")

HOSTILE = "<b onclick=alert(1)>hostile</b> & 'quoted'"
SCRIPT = "<script>alert(1)</script>"
TURNED = "\u202egnp.exe\u2066"
LONG = "x" * 2000
BROKEN = 'line\nbreak\ttab "quoted" <b>'
SMILING = "😀 ümläut مرحبا"
FIRST_ID = 22519813685366


@dataclass
class Scene:
    """An exporter that shows something, and the tenant behind it where a test changes that."""

    exporter: ExporterProcess
    tenant: SimulatedTenant

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self.exporter.url}/"

    def document(self, query: str = "") -> dict[str, Any]:
        """Return what the exporter tells programs."""
        answer: dict[str, Any] = self.exporter.get(f"/api/v1/actions{query}").json()
        return answer

    def wait_for(self, condition: str, **values: object) -> None:
        """Wait until each of the actions with these IDs has that value in the document."""

        def fulfilled() -> bool:
            found = {action["action_id"]: action[condition] for action in self.document()["actions"]}
            return values.items() <= found.items()

        wait_until(fulfilled, lambda: f"{condition} {values} in {self.document()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with chromium() as running:
        yield running


def start(configuration: Mapping[str, Any], folder: Path) -> ExporterProcess:
    """Start an exporter that outlives a test."""
    return ExporterProcess(exporter_arguments(configuration, [], folder), folder)


def rollouts(actions: int) -> dict[str, Life]:
    """Make lives as a rollout has them, in any state."""
    lives = (
        Fixed("IN_PROGRESS", Counts(pending=300, in_progress=20, failed=1, timeout=2, completed_successfully=677)),
        Fixed("COMPLETED_PARTIAL", Counts(failed=40, completed_successfully=60, expired=7, aborted=5, canceled=3)),
        Fixed("PENDING_ABORT", Counts(pending=3, pending_abort=30, completed_successfully=70)),
        Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=1000)),
        Fixed("PENDING", Counts(pending=12345)),
    )
    return {str(FIRST_ID + number): lives[number % len(lives)] for number in range(actions)}


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Show twelve actions of one unnamed tenant, which is well."""
    tenant = make_tenant(rollouts(12))
    with SimulatorServer({"": tenant}) as simulator:
        configuration = {
            "api": api_section(simulator.url, requests_per_second=10),
            "actions": [
                {"id": action_id, "labels": {"campaign": ("smb", "admin")[number % 2], "wave": f"w{number}"}}
                for number, action_id in enumerate(tenant.actions)
            ],
            "poll": {"interval": "2s", "settled_interval": "2s", "stale_after": "0s"},
        }
        exporter = start(configuration, tmp_path_factory.mktemp("dozen"))
        try:
            wait_until(lambda: exporter.get("/-/ready").status_code == 200, "every action polled")
            yield Scene(exporter, tenant)
        finally:
            exporter.clean_up()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Show several tenants: one is well, one refuses the key, one has stopped to answer, one is hostile."""
    tenants = {name: make_tenant(rollouts(3)) for name in ("acme", "globex", "initech")}
    hostile = {
        "1": Fixed(SCRIPT, Counts(failed=1)),
        "2": Fixed(TURNED, Counts(timeout=1)),
        "3": Fixed(LONG[:1000], Counts(expired=2, pending=2**50)),
        "4": Fixed(BROKEN, Counts()),
        "X" * 128: Fixed(SMILING, Counts(pending=1)),
        "6": Fixed("IN_PROGRESS", Counts(pending=1)),
    }
    tenants["hostile"] = make_tenant(hostile)
    words = f"Action {SCRIPT} {TURNED} does not exist {LONG}"
    tenants["hostile"].inject(Fault(body=json.dumps({"reply": {"error_message": words}}).encode()), "6")
    tenants["globex"].inject(Fault(status=401))
    names = {"hostile": HOSTILE}
    labels = ("", SCRIPT, TURNED, LONG, BROKEN, SMILING)
    with SimulatorServer(tenants) as simulator:
        configuration = {
            "tenants": [
                {
                    "name": names.get(key, key),
                    "api": api_section(f"{simulator.url}/{key}", requests_per_second=10),
                    "actions": [
                        {"id": action_id, "labels": {"campaign": labels[number], "note": labels[number - 2]}}
                        for number, action_id in enumerate(tenant.actions)
                    ],
                }
                for key, tenant in tenants.items()
            ],
            "poll": {"interval": "1s", "settled_interval": "1s", "stale_after": "2s"},
        }
        exporter = start(configuration, tmp_path_factory.mktemp("troubled"))
        scene = Scene(exporter, tenants["hostile"])
        try:
            wait_until(lambda: exporter.get("/-/ready").status_code == 200, "every tenant shown")
            tenants["initech"].inject(Fault(status=500))
            wait_until(lambda: scene.document("?show=stale")["matching"], "stale data")
            yield scene
        finally:
            exporter.clean_up()


@pytest.fixture(scope="module")
def multitude(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Show ten thousand actions, as an earlier process has left them."""
    tenant = make_tenant({})
    folder = tmp_path_factory.mktemp("multitude")
    now = time.time()
    actions = {}
    with SimulatorServer({"": tenant}) as simulator:
        changes: Changes = {}
        for number, (action_id, life) in enumerate(rollouts(10_000).items()):
            status = Status(*life.at(0))
            failure = Reason.NOT_FOUND if number % 7 == 3 else None
            state = ActionState(
                action_id, (), polled=True, status=status, failure=failure, last_success=now, last_change=now
            )
            changes["", simulator.url, action_id] = Record(state, now + 3600, 0)
            actions[action_id] = {"id": action_id, "labels": {"campaign": f"c{number % 300}", "team": "ops"}}
        connection = connect(folder / "state", busy_seconds=60)
        write(connection, changes, now)
        connection.close()
        (folder / "actions.json").write_text(json.dumps(list(actions.values())))
        configuration = {
            "api": api_section(simulator.url, requests_per_second=10),
            "action_files": ["actions.json"],
            "poll": {"interval": "1h", "settled_interval": "1h", "stale_after": "0s"},
            "state": {"path": str(folder / "state")},
        }
        exporter = start(configuration, folder)
        try:
            yield Scene(exporter, tenant)
        finally:
            exporter.clean_up()


def scene_of(request: pytest.FixtureRequest, name: str) -> Scene:
    """Return one of the scenes above."""
    scene: Scene = request.getfixturevalue(name)
    return scene


def expect_no_trouble(visiting: Visit, url: str) -> None:
    """Assert that a page said nothing to the console, asked nobody else, and is not too wide."""
    assert visiting.complaints == []
    assert visiting.requests
    assert [asked for asked in visiting.requests if not asked.startswith(url)] == []
    assert visiting.overflow <= 0


def hold_back(page: Page) -> list[Route]:
    """Let what a page asks for wait; return the list that it is put into."""
    waiting: list[Route] = []

    def wait(route: Route) -> None:
        waiting.append(route)

    page.route(page.url, wait)
    return waiting


STOP_RELOADING = "noscript a"  # Playwright finds nothing there by its text.

LOOKS: dict[str, dict[str, Any]] = {
    "phone, light": {"viewport": PHONE, "color_scheme": "light"},
    "phone, dark": {"viewport": PHONE, "color_scheme": "dark"},
    "desktop, light": {"viewport": DESKTOP, "color_scheme": "light"},
    "desktop, dark": {"viewport": DESKTOP, "color_scheme": "dark"},
}


@pytest.mark.parametrize(
    ("name", "query", "look"),
    [
        *(("dozen", "?group=campaign", look) for look in LOOKS),
        *(("troubled", "?group=tenant", look) for look in ("phone, dark", "desktop, light")),
        *(("multitude", "?group=campaign&per_page=20", look) for look in ("phone, light", "desktop, dark")),
    ],
)
def test_page_can_be_read_by_everybody(
    name: str, query: str, look: str, browser: Browser, request: pytest.FixtureRequest
) -> None:
    """No rule of axe-core is broken, nothing overflows, and nothing is asked of, or said to, anybody else."""
    scene = scene_of(request, name)
    with visit(browser, scene.url + query, **LOOKS[look]) as visiting:
        expect(visiting.page.get_by_role("button", name="Pause")).to_be_visible()
        assert visiting.faults_of_access() == []
        expect_no_trouble(visiting, scene.url)
        dark = visiting.style("body", "background-color") == "rgb(14, 18, 23)"
        assert dark is look.endswith("dark")


@pytest.mark.parametrize("index", [0, 2])
def test_shard_tells_its_share(
    index: int, browser: Browser, exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """With tenants and without any the page can be read by everybody, and says which part of the whole it is."""
    url = simulator({"acme": make_tenant(rollouts(3))})
    tenants = [
        {"name": name, "api": api_section(f"{url}/acme"), "actions": [FIRST_ID]} for name in ("acme", "two")
    ]
    exporter = exporter_process({"tenants": tenants}, "--shard.total=3", f"--shard.index={index}")
    wait_until(lambda: exporter.get("/-/ready").status_code == 200, "every action polled")
    for look in ("phone, dark", "desktop, light"):
        with visit(browser, f"{exporter.url}/", **LOOKS[look]) as visiting:
            words = visiting.page.get_by_text(f"Shard {index} of 3, counted from 0: {index} of 2 tenants.")
            expect(words).to_be_visible()
            assert visiting.faults_of_access() == []
            expect_no_trouble(visiting, f"{exporter.url}/")


@pytest.mark.parametrize("name", ["dozen", "troubled", "multitude"])
def test_page_is_whole_without_a_script(name: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    """Without a script there are the same bars and numbers, and the page reloads itself."""
    scene = scene_of(request, name)
    with visit(browser, scene.url, viewport=PHONE, java_script_enabled=False) as visiting:
        page = visiting.page
        shown = scene.document()
        rows = page.locator("table.actions tbody tr:not(.why)")
        expect(rows).to_have_count(len(shown["actions"]))
        expect(page.locator(STOP_RELOADING)).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        expect_no_trouble(visiting, scene.url)


def test_page_is_told_apart_by_landmarks_headings_and_tables(dozen: Scene, browser: Browser) -> None:
    """A screen reader finds the parts by their names, on a phone too, and each bar's numbers as text."""
    with visit(browser, f"{dozen.url}?group=campaign&sort=id", viewport=PHONE) as visiting:
        page = visiting.page
        for role in ("banner", "main", "contentinfo", "search"):
            expect(page.get_by_role(role)).to_have_count(1)
        headings = [heading.inner_text() for heading in page.get_by_role("heading").all()]
        assert headings == [
            *("Script executions", "Progress of all actions", "Tenant", "Actions"),
            *("campaign admin", "campaign smb"),
        ]
        table = page.get_by_role("table", name="Actions, grouped by campaign")
        first = table.get_by_role("row", name=str(FIRST_ID))
        expect(first.get_by_role("rowheader")).to_contain_text(str(FIRST_ID))
        expect(first.get_by_role("cell").first).to_have_text(
            "1 failed 2 timed out 677 succeeded 20 running 300 pending"
        )
        assert first.get_by_role("cell").count() == 4
        expect(page.locator("svg:not([aria-hidden=true] *, [aria-hidden=true])")).to_have_count(0)


def test_keyboard_skips_to_the_content_and_shows_where_it_is(dozen: Scene, browser: Browser) -> None:
    """The first stop is a link to the content, which appears; every stop is marked."""
    with visit(browser, dozen.url) as visiting:
        page = visiting.page
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            assert visiting.style(":focus", "outline-style") == "solid"
            assert visiting.style(":focus", "outline-width") == "2px"


def test_form_and_links_work_without_a_script(dozen: Scene, browser: Browser) -> None:
    """Grouping, filtering, ordering and stopping the reload need no script, and each keeps the others."""
    with visit(browser, dozen.url, java_script_enabled=False) as visiting:
        page = visiting.page
        page.locator(STOP_RELOADING).click()
        page.get_by_label("Group by").select_option("campaign")
        page.get_by_label("Find").fill("campaign=smb")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("h3")).to_have_text(["campaign smb"])
        first = page.locator("table.actions .id").first
        page.get_by_role("link", name="endpoints").click()
        expect(first).to_have_text(str(FIRST_ID + 4))
        page.locator(".sorts [aria-current]").click()
        expect(first).to_have_text(str(FIRST_ID + 2))
        assert page.url == f"{dozen.url}?group=campaign&sort=total&order=asc&text=campaign%3Dsmb&refresh=0"
        assert page.locator("noscript").count() == 0
        page.get_by_role("link", name="Clear").click()
        expect(page.locator("table.actions .id")).to_have_count(12)
        expect_no_trouble(visiting, dozen.url)


def test_page_reloads_itself_without_a_script(dozen: Scene, browser: Browser) -> None:
    """The document says by itself when to come again."""
    url = f"{dozen.url}?refresh=1&sort=id"
    with visit(browser, url, java_script_enabled=False) as visiting, visiting.page.expect_request(url):
        pass


def test_pages_lead_through_ten_thousand_actions(multitude: Scene, browser: Browser) -> None:
    """The sums of all come first, a hundred actions to a page, and a page is small."""
    with visit(browser, multitude.url, java_script_enabled=False) as visiting:
        page = visiting.page
        expect(page.locator("#totals")).to_contain_text("10\u202f000 actions:")
        rows = page.locator("table.actions .id")
        expect(rows).to_have_count(100)
        first = rows.first.inner_text()
        page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Next").click()
        expect(page.get_by_text("101 to 200 of")).to_be_visible()
        assert rows.first.inner_text() != first
        page.get_by_role("navigation", name="Pages, below").get_by_role("link", name="100").click()
        expect(page.get_by_role("link", name="Next")).to_have_count(0)
        expect_no_trouble(visiting, multitude.url)
    assert len(multitude.exporter.get("/").content) < 300_000
    assert len(multitude.exporter.get("/?group=campaign").content) < 400_000


@pytest.fixture
def changing(exporter_process: StartExporter, simulator: StartSimulator) -> Scene:
    """Show two actions of a tenant that a test changes."""
    tenant = make_tenant({"1": Fixed("IN_PROGRESS", Counts(pending=9, failed=1)), "2": RUNNING})
    exporter = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": [{"id": "1", "labels": {"note": "n" * 300}}, "2"],
            "poll": {"interval": "1s", "settled_interval": "1s"},
        }
    )
    scene = Scene(exporter, tenant)
    scene.wait_for("failed", **{"1": 1})
    return scene


def test_refresh_changes_what_has_changed_and_nothing_else(changing: Scene, browser: Browser) -> None:
    """New counts appear in place: focus, scroll, unfolded text, selection and a half-typed form stay."""
    window = {"width": 360, "height": 300}
    with visit(browser, f"{changing.url}?sort=id", viewport=window, clock=True) as visiting:
        page = visiting.page
        row = page.locator("table.actions tbody tr").first
        expect(row.locator(".numbers")).to_have_text("1 failed 9 pending")
        page.get_by_label("Find").fill("half-typ")
        page.locator("details.long summary").click()
        page.get_by_role("link", name="time left").focus()
        page.evaluate("getSelection().selectAllChildren(document.querySelector('table.actions .id'))")
        page.evaluate("window.scrollTo(0, 500)")
        before = row.bounding_box()
        node = page.locator("table.actions .id").first.element_handle()
        changing.tenant.add("1", Fixed("IN_PROGRESS", Counts(pending=7, timeout=2, failed=1)))
        changing.wait_for("timed_out", **{"1": 2})
        visiting.refresh()
        expect(row.locator(".numbers")).to_have_text("1 failed 2 timed out 7 pending")
        expect(page).to_have_title("20\u202f% finished, 1 failed, 2 timed out · Script executions")
        expect(page.get_by_label("Find")).to_have_value("half-typ")
        expect(page.locator("details.long")).to_have_attribute("open", "")
        expect(page.get_by_role("link", name="time left")).to_be_focused()
        assert page.evaluate("getSelection().toString()") == "1"
        assert node is not None
        assert node.evaluate("node => node.isConnected")
        after = row.bounding_box()
        assert before is not None
        assert after is not None
        assert after["y"] == pytest.approx(before["y"], abs=1)
        expect_no_trouble(visiting, changing.url)


def test_refresh_follows_actions_to_their_new_places(changing: Scene, browser: Browser) -> None:
    """What had the focus has it in its new place when the order changes; if it is gone, the content has it."""
    with visit(browser, f"{changing.url}?sort=failed", clock=True) as visiting:
        page = visiting.page
        ids = page.locator("table.actions .id")
        expect(ids).to_have_text(["1", "2"])
        summary = page.locator("details.long summary")
        summary.focus()
        changing.tenant.add("2", Fixed("IN_PROGRESS", Counts(failed=5)))
        changing.wait_for("failed", **{"2": 5})
        visiting.refresh()
        expect(ids).to_have_text(["2", "1"])
        expect(summary).to_be_focused()
        configuration = (changing.exporter.folder / "config.yaml").read_text()
        changing.exporter.configure(configuration.replace("- id: '1'", "- id: '3'").replace("n" * 300, "n"))
        changing.exporter.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: [a["action_id"] for a in changing.document()["actions"]] == ["2", "3"], "another action"
        )
        visiting.refresh()
        expect(ids).to_have_text(["2", "3"])
        expect(page.get_by_role("main")).to_be_focused()
        expect_no_trouble(visiting, changing.url)


def test_refresh_follows_groups_to_their_new_places(changing: Scene, browser: Browser) -> None:
    """A link to one group's actions that had the focus has it still, and leads where it led."""
    with visit(browser, f"{changing.url}?group=note&per_page=1", clock=True) as visiting:
        groups = visiting.page.locator(".groups li")
        expect(groups).to_contain_text(["note", "without note"])
        link = groups.nth(1).get_by_role("link", name="Only these")
        link.focus()
        changing.tenant.add("2", Fixed("IN_PROGRESS", Counts(failed=5)))
        changing.wait_for("failed", **{"2": 5})
        visiting.refresh()
        expect(groups).to_contain_text(["without note", "note"])
        expect(visiting.page.locator('[href="./?label=note&per_page=1"]:focus')).to_have_count(1)


def test_refresh_can_be_paused(dozen: Scene, browser: Browser) -> None:
    """A paused page asks for nothing and says of when its data is; ages go on; the next page is paused too."""
    with visit(browser, f"{dozen.url}?sort=id", clock=True) as visiting:
        page = visiting.page
        page.get_by_role("button", name="Pause").click()
        since = r"data from \d+ \w\w\w \d\d:\d\d:\d\d UTC\."
        expect(page.get_by_role("status")).to_have_text(re.compile(f"^Paused, {since}$"))
        page.clock.fast_forward(125_000)
        page.clock.run_for(5_000)
        expect(page.locator("time.age").first).to_have_text("2 min ago")
        assert visiting.asked() == 1
        page.get_by_role("link", name="endpoints").click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        waiting = hold_back(page)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("status")).to_have_text(re.compile(f"^Refreshing, {since}$"))
        visiting.wait_until(lambda: bool(waiting), "asks")
        waiting[0].continue_()
        expect(page.get_by_role("status")).to_have_text("")
        visiting.wait_until(lambda: visiting.asked() == 3, "asked again at once")
        expect_no_trouble(visiting, dozen.url)


SHOW = """hidden => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_hidden_page_asks_for_nothing(dozen: Scene, browser: Browser) -> None:
    """A page in a tab that nobody sees is still, and comes up fresh when it is looked at again."""
    with visit(browser, dozen.url, clock=True) as visiting:
        visiting.page.evaluate(SHOW, arg=True)
        visiting.page.clock.fast_forward(300_000)
        assert visiting.asked() == 1
        visiting.page.evaluate(SHOW, arg=False)
        visiting.wait_until(lambda: visiting.asked() == 2, "asked again at once")
        visiting.refresh()


def test_page_that_was_hidden_marks_what_is_old(dozen: Scene, browser: Browser) -> None:
    """Until the new answer is there, the page says of when the old one is."""
    with visit(browser, dozen.url, clock=True) as visiting:
        waiting = hold_back(visiting.page)
        visiting.page.evaluate(SHOW, arg=True)
        visiting.page.clock.fast_forward(300_000)
        visiting.page.evaluate(SHOW, arg=False)
        expect(visiting.page.get_by_role("status")).to_contain_text("Refreshing, data from")
        visiting.wait_until(lambda: bool(waiting), "asks")
        waiting[0].continue_()
        expect(visiting.page.get_by_role("status")).to_have_text("")


def test_ages_do_not_depend_on_the_clock_being_right(dozen: Scene, browser: Browser) -> None:
    """When the computer's clock is set back, ages go on."""
    with visit(browser, f"{dozen.url}?sort=id&refresh=0", clock=True) as visiting:
        visiting.page.evaluate("(() => { const now = Date.now; Date.now = () => now() - 3600e3; })()")
        visiting.page.clock.fast_forward(125_000)
        visiting.page.clock.run_for(5_000)
        expect(visiting.page.locator("time.age").first).to_have_text("2 min ago")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("offline", "Connection lost, data from {}. Trying again."),
        ("503", "The exporter answers with HTTP 503, data from {}. Trying again."),
        ("200", "The answer is no status page: log in again? Data from {}. Trying again."),
    ],
)
def test_old_data_is_never_shown_as_new(failure: str, words: str, dozen: Scene, browser: Browser) -> None:
    """When a refresh fails the page says so, and of when its data is; ages go on until it is connected again."""
    with visit(browser, f"{dozen.url}?sort=id", clock=True) as visiting:
        page = visiting.page
        since = page.locator("[data-live] time").inner_text()
        if failure == "offline":
            page.context.set_offline(offline=True)
        else:
            page.route("**", lambda route: route.fulfill(status=int(failure), body="busy"))
        visiting.refresh()
        expect(page.get_by_role("status")).to_have_text(words.format(since))
        page.clock.fast_forward(195_000)
        page.clock.run_for(5_000)
        expect(page.locator("time.age").first).to_have_text("3 min ago")
        expect(page.get_by_role("status")).to_have_text(words.format(since))
        page.context.set_offline(offline=False)
        page.unroute("**")
        visiting.refresh()
        expect(page.get_by_role("status")).to_have_text("")
        expect(page.locator("time.age").first).not_to_have_text("3 min ago")


def test_page_of_another_version_is_loaded_anew(dozen: Scene, browser: Browser) -> None:
    """When another version of the exporter answers, the page takes over its script as well."""
    with visit(browser, dozen.url, clock=True) as visiting:
        page = visiting.page

        def other_version(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace("page.js?v=", "page.js?v=other"))

        page.route(dozen.url, other_version)
        with page.expect_navigation():
            visiting.refresh()
        assert any("page.js?v=other" in url for url in visiting.requests)
        visiting.refresh()


def test_foreign_texts_do_nothing_and_can_be_read_whole(troubled: Scene, browser: Browser) -> None:
    """Markup, marks of direction and line breaks are shown, not obeyed; what is long is cut, and unfolds."""
    with visit(browser, f"{troubled.url}?group=campaign&sort=id", viewport=PHONE) as visiting:
        page = visiting.page
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
        expect(page.get_by_text("⟨U+202E⟩gnp.exe⟨U+2066⟩").first).to_be_visible()
        expect(page.get_by_text('line↵break⟨U+0009⟩tab "quoted" <b>').first).to_be_visible()
        expect(page.get_by_text(f"It said: Action {SCRIPT}").first).to_be_visible()
        for summary in page.locator("table.actions details > summary").all():
            summary.click()
        expect(page.get_by_text(LONG, exact=True).first).to_be_visible()
        assert visiting.overflow <= 0
        expect_no_trouble(visiting, troubled.url)


def test_trouble_is_told_in_words(troubled: Scene, browser: Browser) -> None:
    """Tenants that are not well come first with what to do; stale data is marked, and has no bar."""
    with visit(browser, f"{troubled.url}?show=stale&refresh=0") as visiting:
        page = visiting.page
        tenants = page.get_by_role("table").first.get_by_role("row")
        expect(tenants.nth(1)).to_contain_text("The API")
        expect(tenants.filter(has_text="globex")).to_contain_text("The API refuses the key. Check the key")
        expect(tenants.filter(has_text="acme")).to_contain_text("All is well.")
        stale = page.locator("table.actions tbody tr").filter(has_text="stale")
        expect(stale.first).to_contain_text("No counts: the last ones are too old to be shown")
        expect(stale.first.locator("svg.bar rect")).to_have_count(0)


def test_query_that_is_none_is_refused_in_words(dozen: Scene, browser: Browser) -> None:
    """An address with mistakes gets a page that names them and leads back."""
    with visit(browser, f"{dozen.url}?sort=<b>&{SCRIPT}=1") as visiting:
        page = visiting.page
        expect(page.get_by_role("main")).to_contain_text("sort: '<b>' is none of attention")
        assert visiting.faults_of_access() == []
        page.get_by_role("link", name="Show all actions").click()
        expect(page.locator("table.actions .id")).to_have_count(12)


def test_paper_has_bars_and_no_controls(dozen: Scene, browser: Browser) -> None:
    """In print text is black on white even where the screen is dark, bars keep their patterns, forms are gone."""
    with visit(browser, dozen.url, color_scheme="dark") as visiting:
        page = visiting.page
        page.emulate_media(media="print")
        for gone in ("form", ".sorts", "button", "footer nav"):
            expect(page.locator(gone).filter(visible=True)).to_have_count(0)
        assert visiting.style("body", "color") == "rgb(0, 0, 0)"
        assert visiting.style("body", "background-color") == "rgb(255, 255, 255)"
        assert visiting.style(".bar", "print-color-adjust") == "exact"
        expect(page.locator(".bar.large rect").first).to_have_attribute("fill", "url(#failed)")
        expect(page.locator(".bar.large rect").first).to_be_visible()
        assert page.pdf()[:5] == b"%PDF-"


def test_paper_has_what_is_folded(changing: Scene, browser: Browser) -> None:
    """Nobody can unfold paper: what is a step away on the screen is printed."""
    with visit(browser, changing.url) as visiting:
        whole = visiting.page.get_by_text("n" * 300, exact=True)
        expect(whole).not_to_be_visible()
        visiting.page.emulate_media(media="print")
        expect(whole).to_be_visible()


def test_forced_colours_keep_the_bars(dozen: Scene, browser: Browser) -> None:
    """With the system's own colours the bars keep theirs, and their frame is the system's."""
    with visit(browser, dozen.url, forced_colors="active", reduced_motion="reduce") as visiting:
        assert visiting.style(".bar.large", "forced-color-adjust") == "none"
        assert visiting.style("pattern .failed", "fill") in {"rgb(174, 22, 16)", "rgb(240, 53, 47)"}
        assert visiting.page.evaluate("document.getAnimations().length") == 0


def test_page_works_below_any_path(dozen: Scene, browser: Browser) -> None:
    """Behind a proxy that puts it below a path, everything is asked for below that path, the refresh too."""
    prefix = "http://proxy.invalid/tools/xdr/"

    def forward(route: Route) -> None:
        answer = route.fetch(url=route.request.url.replace(prefix, dozen.url))
        route.fulfill(response=answer)

    with visit(browser, "about:blank", clock=True) as visiting:
        page = visiting.page
        page.route(f"{prefix}**", forward)
        page.goto(prefix)
        visiting.refresh()
        page.get_by_role("link", name="endpoints").click()
        page.get_by_label("Group by").select_option("campaign")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("h3")).to_have_count(2)
        page.get_by_role("link", name="This page as JSON").click()
        assert page.url == f"{prefix}api/v1/actions?group=campaign&sort=total"
        expect_no_trouble(visiting, prefix)
