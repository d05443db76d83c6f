"""The status page as HTML: whole fragments, what it says in each state, and that foreign texts stay text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support_page import NOW, overview_of, polled, rendered, status
from support_tenant import tenant_state

from exporter import advice
from exporter.errors import Reason
from exporter.pace import Pace
from exporter.query import Query, Show, Sort
from exporter.sharding import Shard, Share
from exporter.store import ActionState
from exporter.web import page
from exporter.web.static import STATIC
from exporter.web.words import visible

ROLLOUT = polled(
    "225",
    status(failed=2, timeout=1, completed_successfully=1200, in_progress=7, pending=40),
    labels=(("campaign", "smb"), ("team", "ops")),
    pace=Pace(0.0, 100.0, 900.0),
)
LOST = polled(
    "226",
    status(completed_successfully=5),
    age_seconds=400,
    labels=(("campaign", "smb"),),
    failure=Reason.NOT_FOUND,
    failure_detail="no <b>such</b>",
)
WAITING = ActionState("227", ())
VOID = {"meta", "link", "input", "rect", "circle", "path", "use"}
INLINE = {"a", "b", "bdi", "code", "small", "span", "time"}

BAR = (
    '<rect fill="url(#failed)" x="0%" width="1.5%" height="100%"/>'
    '<rect fill="url(#timeout)" x="1.5%" width="1.5%" height="100%"/>'
    '<rect fill="url(#completed_successfully)" x="3%" width="92.42%" height="100%"/>'
    '<rect fill="url(#in_progress)" x="95.42%" width="1.5%" height="100%"/></svg>'
)
ROW = f"""\
<tr role="row" data-key=" 225">
<th role="rowheader" scope="row"><div class="id"><bdi>225</bdi></div>
<ul class="labels">
<li><span class="label">campaign</span> <bdi>smb</bdi></li>\
<li><span class="label">team</span> <bdi>ops</bdi></li></ul>
</th>
<td role="cell" class="progress">
<svg class="bar" aria-hidden="true">{BAR}
<ul class="numbers">
<li class="bad"><svg class="key" aria-hidden="true"><use href="#key-failed"/></svg><b>2</b> failed</li>
<li class="bad"><svg class="key" aria-hidden="true"><use href="#key-timeout"/></svg><b>1</b> timed out</li>
<li><svg class="key" aria-hidden="true"><use href="#key-completed_successfully"/></svg><b>1 200</b> succeeded</li>
<li><svg class="key" aria-hidden="true"><use href="#key-in_progress"/></svg><b>7</b> running</li>
<li><svg class="key" aria-hidden="true"><use href="#key-pending"/></svg><b>40</b> pending</li>
</ul>
</td>
<td role="cell" class="done"><b>96 %</b> <span class="quiet">of 1 250</span>\
<div class="status"><bdi>IN_PROGRESS</bdi></div></td>
<td role="cell" class="end"><time datetime="2023-11-14T22:20:18Z">22:20</time> <small>in 6 min</small>\
<div class="quiet">400 an hour</div></td>
<td role="cell" class="read"><time class="age" datetime="2023-11-14T22:13:15Z">5 s ago</time></td>
</tr>
"""
FAILING_ROW = """\
<tr role="row" data-key=" 226" class="old">
<th role="rowheader" scope="row"><div class="id"><bdi>226</bdi></div>
<ul class="labels">
<li><span class="label">campaign</span> <bdi>smb</bdi></li></ul>
</th>
<td role="cell" class="progress">
<svg class="bar" aria-hidden="true">\
<rect fill="url(#completed_successfully)" x="0%" width="100%" height="100%"/></svg>
<ul class="numbers">
<li><svg class="key" aria-hidden="true"><use href="#key-completed_successfully"/></svg><b>5</b> succeeded</li>
</ul>
</td>
<td role="cell" class="done"><b>100 %</b> <span class="quiet">of 5</span>\
<div class="status"><bdi>IN_PROGRESS</bdi></div></td>
<td role="cell" class="end"><span class="quiet">no estimate</span></td>
<td role="cell" class="read"><time class="age" datetime="2023-11-14T22:06:40Z">6 min ago</time> \
<b class="tag">late</b></td>
</tr>
<tr data-key="why  226" class="why" role="row"><td role="cell" colspan="5"><div class="problem">\
<b>The API knows no such action.</b> Compare the ID with the console&#39;s Action Center, in this tenant; then \
correct its entry or take it out.
<div class="quiet">It said: <bdi>no &lt;b&gt;such&lt;/b&gt;</bdi></div></div></td></tr>
"""
TILES = """\
<dl class="tiles">
<div class="bad"><dt><svg class="key" aria-hidden="true"><use href="#key-failed"/></svg>Failed</dt>\
<dd>2 <small>&lt;1 %</small></dd></div>
<div class="bad"><dt><svg class="key" aria-hidden="true"><use href="#key-timeout"/></svg>Timed out</dt>\
<dd>1 <small>&lt;1 %</small></dd></div>
<div><dt>Finished</dt><dd>96 % <small>1 203 of 1 250</small></dd></div>
<div><dt>Still to go</dt><dd>47</dd></div>
<div><dt>Pace</dt><dd>400 <small>an hour</small></dd></div>
<div><dt>Estimated end</dt><dd><time datetime="2023-11-14T22:20:18Z">22:20 UTC</time> \
<small>in 6 min</small></dd></div>
</dl>
"""


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes' names, in order, and its text; asserts that tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.structure: list[tuple[str, ...]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that begins."""
        self.structure.append((tag, *(name for name, _ in attrs)))
        self._break(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """End the element that began last, which has to be this one."""
        assert self._open.pop() == tag
        self._break(tag)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def _break(self, tag: str) -> None:
        if tag not in INLINE:
            self.text += " "


def plain(html: str) -> str:
    """Return HTML with its thin spaces wide, and without empty lines."""
    return re.sub(r"\n\n+", "\n", html.replace("\u202f", " "))


def text_of(html: str, element: str = "main") -> str:
    """Return what is to read in an element, with white space folded."""
    match = re.search(f"<{element}[ >].*?</{element}>", html, re.DOTALL)
    assert match
    return " ".join(Reader(match[0]).text.replace("\u202f", " ").split())


def section(html: str, name: str) -> str:
    """Return what is to read in a section, by its ID."""
    match = re.search(f'<section id="{name}".*?</section>', html, re.DOTALL)
    assert match
    return text_of(match[0], "section")


def test_action_is_a_row() -> None:
    """A row has the ID, the labels, bar and numbers, share and status, estimate and pace, and the data's age."""
    assert ROW in plain(rendered(tenant_state([ROLLOUT])))


def test_failing_action_says_what_to_do() -> None:
    """Below it stand the problem, advice, and the API's own words; its data is marked as late."""
    assert FAILING_ROW in plain(rendered(tenant_state([LOST])))


def test_totals_are_told_first() -> None:
    """The sums of all actions come before tenants and actions, failures before all else."""
    html = plain(rendered(tenant_state([ROLLOUT])))
    assert TILES in html
    assert f'</dl>\n<svg class="bar large" aria-hidden="true">{BAR}\n<ul class="numbers">' in html
    assert "<title>96 % finished, 2 failed, 1 timed out · Script executions</title>" in html
    html = plain(rendered(tenant_state([ROLLOUT, WAITING])))
    assert section(html, "totals").endswith(
        "2 failed 1 timed out 0 expired 0 aborted 0 canceled 1 200 succeeded 7 running 0 aborting 40 pending "
        "2 actions: 1 active, 1 not polled yet. 1 action needs attention. 1 action has no counts and is in no sum."
    )
    places = [html.index(f'<section id="{name}"') for name in ("totals", "tenants", "actions")]
    assert places == sorted(places)
    assert "<title>96 % of those known finished, 1 unknown, 2 failed, 1 timed out · Script" in html


def test_tenants_are_told_worst_first() -> None:
    """Each tenant has a verdict with advice, its budget, demand and lag."""
    html = rendered(
        tenant_state([ROLLOUT], name="acme"),
        tenant_state(
            [replace(LOST, failure=Reason.UNAUTHORIZED)],
            name="globex",
            up=False,
            failure=Reason.UNAUTHORIZED,
            failure_detail="HTTP 401",
            rate_used=0.0,
        ),
        tenant_state([], name="initech", throttled=True, rate_limit=2.5, rate_demand=7.0, lag_seconds=90.0),
    )
    assert section(html, "tenants") == (
        "Tenants Tenant State Requests used Asked for Lag "
        f"globex api-acme.example {' '.join(advice.PROBLEMS[Reason.UNAUTHORIZED])} "
        "It said: HTTP 401 0 of 5/s 1.5/s none "
        f"initech api-acme.example {' '.join(advice.THROTTLED_LATELY).strip()} 1.25 of 5/s "
        "throttled to 2.5/s 7/s more than allowed 1 min "
        "acme api-acme.example All is well. 1.25 of 5/s 1.5/s none"
    )
    # What is told of the tenant as a whole is not told again of each action.
    assert "The API refuses the key. See the tenant above." in section(html, "actions")


def test_share_is_told_where_there_are_several_shards() -> None:
    """Which shard it is, by the flag's number, and how many of the tenants; on its own a process says nothing."""
    acme = tenant_state([ROLLOUT], name="acme")
    html = rendered(acme, share=Share(Shard(0, 3), 1, 11))
    assert section(html, "tenants").startswith(
        "Tenants Shard 0 of 3, counted from 0: 1 of 11 tenants. Tenant State Requests used"
    )
    told = '<p class="quiet">Shard 0 of 3, counted from 0: 1 of 11 tenants.</p>\n'
    assert html.replace(told, "").replace(" of this shard", "") == rendered(acme)


def test_shard_without_tenants_says_so() -> None:
    """There is no empty table, and nobody is told to add actions."""
    html = rendered(share=Share(Shard(2, 3), 0, 11))
    assert text_of(html) == (
        "Progress of all actions of this shard This shard has no tenants. They are on others. "
        "Tenants Shard 2 of 3, counted from 0: 0 of 11 tenants. Actions None yet."
    )


def test_many_tenants_are_folded() -> None:
    """The worst eight are shown, the others unfold."""
    html = rendered(*(tenant_state([], name=f"t{number}") for number in range(12)))
    assert "<details><summary>4 more tenants</summary>" in html
    assert re.findall(r"<bdi>(t\d+)</bdi>", html) == [f"t{number}" for number in range(12)]


def test_tenants_that_are_not_well_are_never_folded() -> None:
    """However many they are, whoever looks sees them; each is told apart, so that a refresh follows it."""
    unwell = [tenant_state([], name=f"u{number}", up=False, failure=Reason.TLS) for number in range(9)]
    html = rendered(tenant_state([], name="well"), *unwell)
    assert "<details><summary>1 more tenant</summary>" in html
    keys = re.findall('<tr role="row" data-key="(.*?)">', html[: html.index("1 more tenant")])
    assert keys == [f"u{number}" for number in range(9)]


@pytest.mark.parametrize(
    ("states", "query", "said"),
    [
        (
            [],
            Query(),
            "No action is configured. Add the IDs of script executions under actions in the configuration",
        ),
        ([WAITING], Query(), "Nothing is known yet. Of 1 action none has been polled with success."),
        ([replace(LOST, stale=True)], Query(), "No counts. What is known is too old to be shown"),
        ([ROLLOUT, LOST], Query(text="nothing"), "No action matches. Show all 2"),
    ],
)
def test_totals_say_why_there_are_none(states: list[ActionState], query: Query, said: str) -> None:
    """Nothing configured, nothing polled, nothing fresh and nothing found are different things."""
    assert said in section(rendered(tenant_state(states), query=query), "totals")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (WAITING, "227 Not polled with success yet no estimate never"),
        (
            replace(LOST, stale=True, failure=None),
            (
                "226 campaign smb No counts: the last ones are too old to be shown IN_PROGRESS no estimate "
                "6 min ago stale"
            ),
        ),
        (polled("1", status()), "1 No endpoints IN_PROGRESS no estimate 5 s ago"),
        (
            polled("1", status("ABORTED", aborted=3), settled_at=NOW, retired=True, age_seconds=90),
            "1 3 aborted 100 % of 3 ABORTED settled 1 min ago retired",
        ),
        (
            polled("1", status(None, pending=1), pace=Pace(0, 0, 900)),
            "1 1 pending 0 % of 1 no estimate 0 an hour 5 s ago",
        ),
        (polled("1", status("", pending=1)), "1 1 pending 0 % of 1 (empty) no estimate 5 s ago"),
    ],
)
def test_action_says_what_is_not_known(state: ActionState, said: str) -> None:
    """What there is no value for is said in words, not shown as 0."""
    assert section(rendered(tenant_state([state])), "actions").endswith(f"Read {said}")


SETTLED = polled(
    "1",
    status("COMPLETED_SUCCESSFULLY", completed_successfully=100),
    labels=(("campaign", "smb"),),
    settled_at=NOW,
)


def test_what_is_unknown_is_not_finished() -> None:
    """While actions have no counts nothing is called finished: neither title, tiles nor groups say 100 %."""
    waiting = [ActionState(str(number), (("campaign", "smb"),)) for number in range(2, 11)]
    html = plain(rendered(tenant_state([SETTLED, *waiting]), query=Query(group="campaign")))
    assert "<title>all of those known finished, 9 unknown · Script executions</title>" in html
    assert section(html, "totals").startswith(
        "Progress of all actions Failed 0 Timed out 0 Finished all 100 of 100 known Still to go 0 of those known "
        "Pace not known yet Estimated end not known "
    )
    assert "10 actions · all of 100 known finished · 9 without counts · Only these" in section(html, "actions")


def test_all_that_is_finished_and_known_is_100_percent() -> None:
    """Only then there is nothing left to estimate."""
    html = plain(rendered(tenant_state([SETTLED])))
    assert "<title>100 % finished · Script executions</title>" in html
    assert "Finished 100 % 100 of 100 Still to go 0 Pace finished Estimated end finished" in section(
        html, "totals"
    )


@pytest.mark.parametrize(
    ("paces", "said"),
    [
        ((None, None), "Pace not known yet Estimated end none: 2 not measured yet"),
        ((Pace(0, 100, 900), None), "Pace 400 an hour Estimated end none: 1 not measured yet"),
        ((Pace(0, 100, 900), Pace(0, 0, 900)), "Pace 400 an hour Estimated end not within a month"),
        ((Pace(0, 0, 900), Pace(0, 0, 900)), "Pace 0 an hour Estimated end none: nothing finishes now"),
    ],
)
def test_totals_say_why_there_is_no_estimate(paces: tuple[Pace | None, ...], said: str) -> None:
    """An end of all that nobody can know is not told, and why it is not."""
    states = [polled(str(number), status(pending=9), pace=pace) for number, pace in enumerate(paces)]
    assert f"{said} " in section(rendered(tenant_state(states)), "totals")


def test_old_data_is_told_where_one_looks_first() -> None:
    """Above the sums stands how many actions are in them with old data, and how old; groups have it too."""
    old = polled("1", status(pending=9), age_seconds=3429, failure=Reason.TIMEOUT)
    html = rendered(tenant_state([ROLLOUT, old]), query=Query(group="campaign"))
    assert (
        '<p class="warn"><b>1 of 2 actions: data up to <time class="span" datetime="2023-11-14T21:16:11Z">57 min'
        "</time> old</b></p>\n<dl"
    ) in html
    assert "1 action · 0 % of 9 finished · 1 with old data" in section(html, "actions")
    assert "old" not in section(rendered(tenant_state([ROLLOUT])), "totals")


def test_what_was_not_said_by_the_api_is_not_called_said() -> None:
    """The client's own words about a connection stand there as they are."""
    lost = replace(LOST, failure=Reason.CONNECTION, failure_detail="refused")
    assert '<div class="quiet"><bdi>refused</bdi></div>' in rendered(tenant_state([lost]))


def test_label_that_is_asked_for_can_be_taken_off() -> None:
    """What the form has no field for is told beside it, stays when the form is sent, and has a link without it."""
    query = Query(label=("campaign", "smb"), text="22", sort=Sort.ID)
    html = rendered(tenant_state([ROLLOUT, WAITING]), query=query)
    assert "Only actions with campaign smb · Take this filter off 1 to 1 of 1 action that match, of 2" in section(
        html, "actions"
    )
    assert '<a href="./?sort=id&amp;text=22">Take this filter off</a>' in html
    assert '<input type="hidden" name="label" value="campaign=smb">' in html
    without = rendered(tenant_state([ROLLOUT, WAITING]), query=Query(label=("campaign", None)))
    assert "Only actions without campaign · Take" in section(without, "actions")


def test_chooser_of_groups_has_an_end() -> None:
    """Ten thousand names of labels do not make the page large; what is chosen is among those that are left."""
    labels = tuple((f"name{number:05}", "v") for number in range(150))
    html = rendered(tenant_state([polled("1", status(), labels=labels)]), query=Query(group="name00149"))
    chooser = html[html.index('<select name="group">') : html.index("</select>")]
    assert len(re.findall('<option value="name', chooser)) == 101
    assert '<option value="name00149" selected>' in chooser
    assert "<option disabled>… 50 more</option>" in chooser


def test_page_says_of_which_day_it_is() -> None:
    """A page that was left open, or printed, is told from today's."""
    html = rendered(tenant_state([ROLLOUT]))
    assert 'As of <time datetime="2023-11-14T22:13:20Z">14 Nov 22:13:20 UTC</time>' in html
    assert text_of(html, "footer").endswith(
        "“As of” is when the page was made; “Read” is when an action was last polled with success."
    )


def test_groups_have_a_heading_with_their_sums() -> None:
    """Above a group's actions stand its name, its sums and a link to them alone; their label is left out."""
    html = rendered(tenant_state([ROLLOUT, LOST, WAITING]), query=Query(group="campaign"))
    assert '<tbody role="rowgroup" data-key="=smb">' in html
    assert (
        "campaign smb 2 actions · 96 % of 1 255 finished · 2 failed · 1 timed out · 1 with old data "
        "· Only these 225 team ops 2 failed" in section(html, "actions")
    )
    assert "without campaign 1 action · 1 without counts · Only these 227" in section(html, "actions")
    assert "All groups" not in html


def test_groups_that_are_on_other_pages_are_listed() -> None:
    """Who looks at one page of many groups sees the sums of all."""
    states = [polled(str(number), status(pending=1), labels=(("wave", f"w{number}"),)) for number in range(150)]
    html = rendered(tenant_state(states), query=Query(group="wave", per_page=10, page=2))
    said = section(html, "actions")
    assert "11 to 20 of 150 actions" in said
    assert "All groups wave w0 1 action · 0 % of 1 finished · Only these" in said
    assert "80 more groups" in said
    keys = re.findall('<li data-key="(=w.*?)">', html)
    assert len(keys) == len(set(keys)) == 100
    assert "50 further groups are not listed" in said


@pytest.mark.parametrize(
    ("number", "links"),
    [
        (1, "1 2 … 12 Next"),
        (3, "Previous 1 2 3 4 … 12 Next"),
        (6, "Previous 1 … 5 6 7 … 12 Next"),
        (11, "Previous 1 … 10 11 12 Next"),
        (12, "Previous 1 … 11 12"),
    ],
)
def test_pages_link_to_their_neighbours_and_ends(number: int, links: str) -> None:
    """From each page the first, the last and those beside it are one step away."""
    html = rendered(
        tenant_state([polled(str(action), status(pending=1)) for action in range(24)]),
        query=Query(per_page=2, page=number),
    )
    match = re.search('<nav class="pages" aria-label="Pages">.*?</nav>', html, re.DOTALL)
    assert match
    assert text_of(match[0], "nav").replace("Page ", "") == links
    assert f'?page={number}&amp;per_page=2" aria-current="page"' in html or number == 1


def test_form_has_what_is_asked_for() -> None:
    """The form shows the query, also where nothing fits it, and carries along what it has no field for."""
    query = Query(group="gone", sort=Sort.ID, text='"><script>', show=Show.STALE, tenant="acme")
    html = rendered(tenant_state([ROLLOUT], name="acme"), query=query, refresh=0)
    assert '<option value="gone" selected>gone</option>' in html
    assert '<option value="stale" selected>with stale data</option>' in html
    assert '<option value="acme" selected>acme</option>' in html
    assert 'name="text" value="&#34;&gt;&lt;script&gt;"' in html
    assert re.findall('<input type="hidden" name="(.*?)" value="(.*?)">', html) == [
        ("sort", "id"),
        ("refresh", "0"),
    ]
    assert "No action matches. Show all 1" in section(html, "totals")


def test_order_is_marked_and_turned() -> None:
    """The order in use is marked, with its direction in words, and its link turns it."""
    html = rendered(tenant_state([ROLLOUT]), query=Query(sort=Sort.FAILED, descending=True))
    assert (
        '<a href="./?sort=failed&amp;order=asc" aria-current="true">failed and timed out<span class="unseen">, '
        'descending; change direction</span><span aria-hidden="true"> ↓</span></a>'
    ) in html
    assert html.count('aria-current="true"') == 1


def test_refresh_works_without_a_script_and_can_be_stopped() -> None:
    """Without a script the page reloads itself, unless that was stopped; then a link starts it again."""
    refreshing = rendered(tenant_state([ROLLOUT]), refresh=15)
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in refreshing
    assert '<a href="./?refresh=0">Stop reloading</a>' in refreshing
    still = rendered(tenant_state([ROLLOUT]), refresh=0)
    assert "noscript" not in still
    assert '<a href="./">Refresh every 15 s</a>' in still
    assert '<a href="./?show=attention&amp;refresh=0">' in still


def test_page_loads_only_its_own_files() -> None:
    """Whatever an attribute refers to is relative, or within the page; there is no style and no handler in it."""
    reader = Reader(rendered(tenant_state([ROLLOUT, LOST])))
    refers = [value for name, value in reader.attributes if name in {"href", "src", "action"}]
    assert refers
    assert all(value is not None and value.startswith(("./", "#")) for value in refers)
    assert not [name for name, _ in reader.attributes if name == "style" or name.startswith("on")]
    loaded = [value for value in refers if value and "?v=" in value]
    assert sorted(loaded) == sorted(f".{path}?v={file.digest}" for path, file in STATIC.items())


def test_static_files_are_what_their_types_say() -> None:
    """The files are there, with a type and a digest each."""
    assert {path: file.content_type for path, file in STATIC.items()} == {
        "/-/page.css": "text/css; charset=utf-8",
        "/-/page.js": "text/javascript; charset=utf-8",
        "/-/icon.svg": "image/svg+xml",
    }
    assert all(file.content and re.fullmatch("[0-9a-f]{16}", file.digest) for file in STATIC.values())


def test_foot_links_to_everything_else() -> None:
    """Metrics, the same query as JSON, and the probes are one step away, below any path; the version is told."""
    html = rendered(tenant_state([ROLLOUT]), query=Query(group="team"))
    footer = html[html.index("<footer>") :]
    assert re.findall('href="(.*?)"', footer) == [
        *("./metrics", "./api/v1/actions?group=team", "./-/ready", "./-/healthy")
    ]
    assert text_of(html, "footer").startswith("Metrics This page as JSON Ready Healthy Version ")


def test_refusal_lists_what_is_wrong() -> None:
    """Parameters that are no query get a page that names the problems as text, and leads back."""
    html = page.refuse(["sort: '<b>' is none of id", "page: 'x\n' is no number"], telemetry_path="/metrics")
    assert text_of(html) == (
        "This address asks for something that the page cannot show "
        "sort: '<b>' is none of id page: 'x↵' is no number Show all actions"
    )


def test_long_texts_are_cut_and_can_be_unfolded() -> None:
    """Of 2,000 characters the first are shown, and the rest is a step away; many labels are folded."""
    labels = (("long", "x" * 2000), *((f"name{number}", "v") for number in range(20)))
    html = rendered(tenant_state([polled("y" * 128, status("z" * 1024, pending=1), labels=labels)]))
    assert (
        f'<details class="long"><summary><bdi>{"x" * 50}…</bdi></summary><bdi>{"x" * 2000}</bdi></details>' in html
    )
    assert f"<summary><bdi>{'y' * 30}…</bdi></summary>" in html
    assert f"<bdi>{'z' * 1024}</bdi>" in html
    assert "<details><summary>13 more labels</summary>" in html


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=60)
@given(label=TEXTS, general_status=TEXTS, detail=TEXTS, tenant=TEXTS, text=TEXTS)
@example("<b>", "</bdi>", "&lt;", '"', "'>")
@example("\r\n", "\x00", "\u202e", "-->", "{{")
def test_foreign_texts_are_nothing_but_text(
    label: str, general_status: str, detail: str, tenant: str, text: str
) -> None:
    """Whatever labels, statuses, errors, tenants and queries say, the elements are the same."""

    def with_texts(label: str, general_status: str, detail: str, tenant: str) -> str:
        state = polled(
            "225",
            status(general_status, failed=1),
            labels=(("campaign", "same"), ("note", label)),
            failure=Reason.NOT_FOUND,
            failure_detail=detail,
        )
        told = tenant_state([state], name=tenant, up=False, failure=Reason.TIMEOUT, failure_detail=detail)
        query = Query(group="campaign", text="same", tenant=tenant)
        overview = overview_of(told, query=query)
        return page.render(overview, replace(query, text=text), telemetry_path="/metrics", refresh=15)

    html = Reader(with_texts(label, general_status, detail, tenant))
    assert html.structure == Reader(with_texts("a", "b", "c", "d")).structure
    for foreign in (label, general_status, detail, tenant):
        assert visible(foreign) in html.text
