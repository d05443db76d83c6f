"""Actions as Prometheus text: whole outputs, changes one after the other, and round trips through the library."""

import math
import random
import re
import threading
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from exporter.errors import Reason
from exporter.exposition import (
    FAMILIES,
    OPENMETRICS_CONTENT_TYPE,
    TEXT_CONTENT_TYPE,
    Exposition,
    escape,
    render,
)
from exporter.packing import BLOCK_BYTES, Packed
from exporter.status import STATUSES, Status
from exporter.store import ActionState

RUNNING = Status("IN_PROGRESS", (12, 0, 3, 0, 1, 9007199254740992, 0, 0, 4))
DONE = Status("COMPLETED_SUCCESSFULLY", (0, 0, 0, 0, 0, 5, 0, 0, 0))
READ, CHANGED = 1_700_000_000.1239, 1_699_999_000.0

WAITING = ActionState("225", ())
ACTIVE = ActionState("225", (), polled=True, status=RUNNING, last_success=READ, last_change=CHANGED)

HEADS = """\
# HELP cortex_xdr_script_execution_endpoints Endpoints of the action in that status, as of the last \
successful poll.
# TYPE cortex_xdr_script_execution_endpoints gauge
# HELP cortex_xdr_script_execution_info General status of the action as the API spells it, as of the last \
successful poll.
# TYPE cortex_xdr_script_execution_info gauge
# HELP cortex_xdr_script_execution_labels The action's own labels, from the configuration; always 1, and there \
before any poll.
# TYPE cortex_xdr_script_execution_labels gauge
# HELP cortex_xdr_script_execution_poll_success Whether the last poll of the action succeeded.
# TYPE cortex_xdr_script_execution_poll_success gauge
# HELP cortex_xdr_script_execution_poll_error_info Why the last poll of the action failed; absent while polls \
succeed.
# TYPE cortex_xdr_script_execution_poll_error_info gauge
# HELP cortex_xdr_script_execution_last_success_timestamp_seconds When the last successful poll read the action's \
counts.
# TYPE cortex_xdr_script_execution_last_success_timestamp_seconds gauge
# HELP cortex_xdr_script_execution_last_change_timestamp_seconds When a count or the general status of the action \
last changed, as seen by polls.
# TYPE cortex_xdr_script_execution_last_change_timestamp_seconds gauge
"""
OPENMETRICS_HEADS = (
    HEADS.replace("HELP cortex_xdr_script_execution_info ", "HELP cortex_xdr_script_execution ")
    .replace("TYPE cortex_xdr_script_execution_info gauge", "TYPE cortex_xdr_script_execution info")
    .replace("HELP cortex_xdr_script_execution_poll_error_info ", "HELP cortex_xdr_script_execution_poll_error ")
    .replace(
        "TYPE cortex_xdr_script_execution_poll_error_info gauge",
        "TYPE cortex_xdr_script_execution_poll_error info",
    )
)

ENDPOINTS = """\
cortex_xdr_script_execution_endpoints{action_id="225",status="pending"} 12
cortex_xdr_script_execution_endpoints{action_id="225",status="canceled"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="in_progress"} 3
cortex_xdr_script_execution_endpoints{action_id="225",status="timeout"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="failed"} 1
cortex_xdr_script_execution_endpoints{action_id="225",status="completed_successfully"} 9007199254740992
cortex_xdr_script_execution_endpoints{action_id="225",status="pending_abort"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="aborted"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="expired"} 4
"""
DONE_ENDPOINTS = """\
cortex_xdr_script_execution_endpoints{action_id="225",status="pending"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="canceled"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="in_progress"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="timeout"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="failed"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="completed_successfully"} 5
cortex_xdr_script_execution_endpoints{action_id="225",status="pending_abort"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="aborted"} 0
cortex_xdr_script_execution_endpoints{action_id="225",status="expired"} 0
"""
INFO = 'cortex_xdr_script_execution_info{action_id="225",general_status="IN_PROGRESS"} 1\n'
DONE_INFO = 'cortex_xdr_script_execution_info{action_id="225",general_status="COMPLETED_SUCCESSFULLY"} 1\n'
LABELS = 'cortex_xdr_script_execution_labels{action_id="225"} 1\n'
SUCCESS = 'cortex_xdr_script_execution_poll_success{action_id="225"} 1\n'
NO_SUCCESS = 'cortex_xdr_script_execution_poll_success{action_id="225"} 0\n'
ERROR = 'cortex_xdr_script_execution_poll_error_info{action_id="225",reason="timeout"} 1\n'
LAST_SUCCESS = 'cortex_xdr_script_execution_last_success_timestamp_seconds{action_id="225"} 1700000000.124\n'
LAST_CHANGE = 'cortex_xdr_script_execution_last_change_timestamp_seconds{action_id="225"} 1699999000.000\n'


def as_text(rendered: Iterable[bytes]) -> tuple[str, ...]:
    """Return rendered lines as text."""
    return tuple(lines.decode() for lines in rendered)


def exposed(*states: tuple[str | None, ActionState], openmetrics: bool = False) -> str:
    """Publish states one after the other and return the whole exposition."""
    exposition = Exposition()
    for tenant, state in states:
        exposition.publish(tenant, state)
    return whole(exposition.expose(openmetrics=openmetrics))


def whole(packed: Packed) -> str:
    """Return an exposition as one text, of which it knew the length."""
    joined = b"".join(packed.plain(64))
    assert len(joined) == packed.length
    return joined.decode()


def with_heads(heads: str, *samples: str) -> str:
    """Put each family's samples under its two lines of head; a family without samples has none."""
    lines = heads.splitlines(keepends=True)
    pairs = zip(lines[::2], lines[1::2], samples, strict=True)
    return "".join(help_line + type_line + text for help_line, type_line, text in pairs if text)


@pytest.mark.parametrize(
    ("state", "rendered"),
    [
        (WAITING, ("", "", LABELS, "", "", "", "")),
        (ACTIVE, (ENDPOINTS, INFO, LABELS, SUCCESS, "", LAST_SUCCESS, LAST_CHANGE)),
        (
            ActionState("225", (), polled=True, status=DONE, last_success=READ, last_change=CHANGED),
            (DONE_ENDPOINTS, DONE_INFO, LABELS, SUCCESS, "", LAST_SUCCESS, LAST_CHANGE),
        ),
        (
            ActionState(
                "225",
                (),
                polled=True,
                status=RUNNING,
                failure=Reason.TIMEOUT,
                last_success=READ,
                last_change=CHANGED,
            ),
            (ENDPOINTS, INFO, LABELS, NO_SUCCESS, ERROR, LAST_SUCCESS, LAST_CHANGE),
        ),
        (
            ActionState("225", (), polled=True, failure=Reason.TIMEOUT),
            ("", "", LABELS, NO_SUCCESS, ERROR, "", ""),
        ),
        (
            ActionState(
                "225",
                (),
                polled=True,
                status=RUNNING,
                failure=Reason.TIMEOUT,
                last_success=READ,
                last_change=CHANGED,
                stale=True,
            ),
            ("", INFO, LABELS, NO_SUCCESS, ERROR, LAST_SUCCESS, LAST_CHANGE),
        ),
        (
            ActionState(
                "225",
                (),
                polled=True,
                status=Status(None, RUNNING.counts),
                last_success=READ,
                last_change=CHANGED,
            ),
            (ENDPOINTS, "", LABELS, SUCCESS, "", LAST_SUCCESS, LAST_CHANGE),
        ),
        (
            ActionState("225", (), polled=True, status=DONE, last_success=READ, last_change=CHANGED, retired=True),
            ("", "", "", "", "", "", ""),
        ),
    ],
    ids=["waiting", "active", "settled", "failing", "never well", "stale", "no general status", "retired"],
)
def test_action_is_rendered_as_its_state_is(state: ActionState, rendered: tuple[str, ...]) -> None:
    """In each phase an action has exactly these samples, family by family."""
    assert as_text(render(None, state)) == rendered


def test_tenant_is_the_first_label_of_every_sample() -> None:
    """A named tenant's samples are those of an unnamed one with the tenant's label before the action's."""
    failing = ActionState(
        "225", (), polled=True, status=RUNNING, failure=Reason.TIMEOUT, last_success=READ, last_change=CHANGED
    )
    expected = tuple(
        text.replace('{action_id="225"', '{tenant="acme \\"eu\\"",action_id="225"')
        for text in (ENDPOINTS, INFO, LABELS, NO_SUCCESS, ERROR, LAST_SUCCESS, LAST_CHANGE)
    )
    assert as_text(render('acme "eu"', failing)) == expected


def test_own_labels_are_on_their_family_alone() -> None:
    """An action's labels follow its identity, in their order and escaped, and nowhere else."""
    state = ActionState("a\\b", (("team", 'the "A"'), ("campaign", "one\ntwo\\n"), ("empty", "")))
    labels = (
        'cortex_xdr_script_execution_labels{tenant="t",action_id="a\\\\b",team="the \\"A\\"",'
        'campaign="one\\ntwo\\\\n",empty=""} 1\n'
    )
    assert as_text(render("t", state)) == ("", "", labels, "", "", "", "")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("", ""),
        ("plain", "plain"),
        ('"', '\\"'),
        ("\\", "\\\\"),
        ("\n", "\\n"),
        ("\\n", "\\\\n"),
        ("\r\tü{}=,#", "\r\tü{}=,#"),
    ],
)
def test_label_value_is_escaped_as_the_formats_say(value: str, escaped: str) -> None:
    """Backslash, quote and line feed are escaped, and nothing else."""
    assert escape(value) == escaped


def test_nothing_published_is_nothing_exposed() -> None:
    """A family without samples has no head either."""
    assert exposed() == ""
    assert exposed(openmetrics=True) == ""


@pytest.mark.parametrize(("openmetrics", "heads"), [(False, HEADS), (True, OPENMETRICS_HEADS)])
def test_families_are_exposed_with_their_heads(heads: str, *, openmetrics: bool) -> None:
    """Families come whole, each under its head; only heads of info families differ between the formats."""
    failing = ActionState(
        "225", (), polled=True, status=RUNNING, failure=Reason.TIMEOUT, last_success=READ, last_change=CHANGED
    )
    assert exposed((None, failing), openmetrics=openmetrics) == with_heads(
        heads, ENDPOINTS, INFO, LABELS, NO_SUCCESS, ERROR, LAST_SUCCESS, LAST_CHANGE
    )
    assert exposed((None, ACTIVE), openmetrics=openmetrics) == with_heads(
        heads, ENDPOINTS, INFO, LABELS, SUCCESS, "", LAST_SUCCESS, LAST_CHANGE
    )
    assert exposed((None, WAITING), openmetrics=openmetrics) == with_heads(heads, "", "", LABELS, "", "", "", "")


def test_actions_are_exposed_in_the_order_first_published() -> None:
    """A changed action keeps its place; the same ID in another tenant is another action."""
    states = (
        ("b", ActionState("2", ())),
        ("a", ActionState("1", ())),
        ("a", ActionState("2", ())),
        ("b", ActionState("2", (("wave", "2"),))),
    )
    assert exposed(*states) == with_heads(
        HEADS,
        "",
        "",
        'cortex_xdr_script_execution_labels{tenant="b",action_id="2",wave="2"} 1\n'
        'cortex_xdr_script_execution_labels{tenant="a",action_id="1"} 1\n'
        'cortex_xdr_script_execution_labels{tenant="a",action_id="2"} 1\n',
        *("", "", "", ""),
    )


def test_retired_action_leaves_nothing() -> None:
    """Retirement removes an action's samples and no other's; one never published may retire as well."""
    retired = ActionState("225", (), polled=True, status=DONE, last_success=1.0, last_change=1.0, retired=True)
    assert exposed((None, ACTIVE), (None, retired)) == ""
    assert exposed((None, retired)) == ""
    other = ActionState("226", ())
    assert exposed((None, ACTIVE), (None, other), (None, retired)) == exposed((None, other))
    assert exposed(("a", ACTIVE), ("b", ACTIVE), ("a", retired)) == exposed(("b", ACTIVE))


def test_withdrawn_actions_leave_nothing() -> None:
    """Actions that are tracked no more are gone, of that tenant alone; one that was not there is no error."""
    exposition = Exposition()
    states = [(tenant, replace(ACTIVE, action_id=action_id)) for tenant in ("a", "b") for action_id in "123"]
    for tenant, state in states:
        exposition.publish(tenant, state)
    exposition.withdraw("a", ["3", "1", "none"])
    exposition.withdraw(None, ["2"])
    exposition.withdraw("c", [])
    assert whole(exposition.expose(openmetrics=False)) == exposed(*states[1:2], *states[3:])


def test_withdrawn_action_may_come_back() -> None:
    """An action that is published again takes its place at the end."""
    exposition = Exposition()
    first, second = ActionState("1", ()), ActionState("2", ())
    for state in (first, second):
        exposition.publish(None, state)
    exposition.withdraw(None, ["1"])
    exposition.publish(None, first)
    assert whole(exposition.expose(openmetrics=False)) == exposed((None, second), (None, first))


def counted(tenant: str, number: int, count: int) -> tuple[str, ActionState]:
    """Return an action of which every number is the same count."""
    status = Status("IN_PROGRESS", (count,) * 9)
    return tenant, ActionState(
        str(number), (), polled=True, status=status, last_success=float(count), last_change=float(count)
    )


def families_of(text: str) -> list[list[str]]:
    """Return the lines of each family, sorted, after its head."""
    families: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("# HELP"):
            families.append([])
        families[-1].append(line)
    return [[*family[:2], *sorted(family[2:])] for family in families]


def test_changes_leave_what_publishing_anew_would() -> None:
    """However actions come, change and go, hundreds at once, the text holds each as it is now, and once."""
    chance = random.Random(1)
    exposition = Exposition()
    states: dict[tuple[str, int], tuple[str, ActionState]] = {}
    for count in range(60):
        for number in chance.sample(range(300), chance.choice((1, 20, 250))):
            key = chance.choice("ab"), number
            if chance.random() < 0.4:
                states.pop(key, None)
                exposition.withdraw(key[0], [str(number)])
            else:
                states[key] = counted(*key, count)
                exposition.publish(*states[key])
        text = whole(exposition.expose(openmetrics=False))
        assert families_of(text) == families_of(exposed(*states.values()))


def test_only_what_has_changed_is_compressed_anew() -> None:
    """A second look shares every block; a change touches its own families of its own group of actions."""
    exposition = Exposition()
    for number in range(1000):
        exposition.publish(*counted("t", number, 1))

    first = exposition.expose(openmetrics=False)._blocks

    def changed() -> list[bytes]:
        """Return the first lines of the blocks that are not the very same now."""
        now = {id(block) for block in exposition.expose(openmetrics=False)._blocks}
        texts = [next(Packed([block]).plain(BLOCK_BYTES)) for block in first if id(block) not in now]
        return [text.partition(b"{")[0] for text in texts]

    assert changed() == []
    tenant, state = counted("t", 500, 1)
    exposition.publish(tenant, state)
    assert changed() == []
    exposition.publish(tenant, replace(state, last_success=2.0))
    last_success = FAMILIES[5].name.encode()
    assert changed() == [last_success]
    exposition.publish(*counted("t", 500, 2))
    *endpoints, before_last, last = changed()
    assert len(endpoints) == math.ceil(128 * len(render(tenant, state)[0]) / BLOCK_BYTES)
    assert (before_last, last) == (last_success, FAMILIES[6].name.encode())


def test_each_text_is_of_one_moment() -> None:
    """Scraped while actions come, change and go, a text has each once, with numbers that belong together."""
    exposition = Exposition()

    def poll(tenant: str) -> None:
        chance = random.Random(tenant)
        for count in range(4000):
            exposition.publish(*counted(tenant, chance.randrange(200), count))
            exposition.withdraw(tenant, [str(chance.randrange(200))])

    pollers = [threading.Thread(target=poll, args=(tenant,)) for tenant in "ab"]
    for poller in pollers:
        poller.start()
    texts = []
    while any(poller.is_alive() for poller in pollers):
        texts.append(whole(exposition.expose(openmetrics=False)))
    assert any(texts)
    for text in texts:
        counts: dict[str, list[float]] = {}
        # By hand: there are hundreds of texts, and the parser is slow.
        for action, value in re.findall(r'(?:_endpoints|_timestamp_seconds){([^}]*?"\d+")[^}]*} (\S+)', text):
            counts.setdefault(action, []).append(float(value))
        assert all((len(values), len(set(values))) == (11, 1) for values in counts.values())


def test_text_stays_as_it_was() -> None:
    """What was asked for before a change is of one moment, however late it is read."""
    exposition = Exposition()
    exposition.publish(None, ACTIVE)
    before = exposition.expose(openmetrics=False)
    slices = before.plain(1)
    first = next(slices)
    exposition.publish(None, ActionState("226", ()))
    exposition.withdraw(None, [ACTIVE.action_id])
    assert b"".join([first, *slices]).decode() == exposed((None, ACTIVE))
    assert whole(exposition.expose(openmetrics=False)) == exposed((None, ActionState("226", ())))


@pytest.mark.parametrize(
    ("names", "families"),
    [
        ([], []),
        (["no_such_family"], []),
        (["cortex_xdr_script_execution"], []),
        (["cortex_xdr_script_execution_info"], [1]),
        (["cortex_xdr_script_execution_labels", "cortex_xdr_script_execution_endpoints"], [0, 2]),
        ([family.name for family in FAMILIES], [0, 1, 2, 3, 5, 6]),
    ],
)
@pytest.mark.parametrize(("openmetrics", "heads"), [(False, HEADS), (True, OPENMETRICS_HEADS)])
def test_names_leave_only_the_families_named(
    names: list[str], families: list[int], heads: str, *, openmetrics: bool
) -> None:
    """With names, the families of those sample names are exposed, in their own order."""
    exposition = Exposition()
    exposition.publish(None, ACTIVE)
    samples = (ENDPOINTS, INFO, LABELS, SUCCESS, "", LAST_SUCCESS, LAST_CHANGE)
    expected = with_heads(heads, *(text if index in families else "" for index, text in enumerate(samples)))
    assert whole(exposition.expose(openmetrics=openmetrics, names=names)) == expected


def test_content_types_are_those_of_the_formats() -> None:
    """Each format has its media type, version and encoding."""
    assert (TEXT_CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE) == (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )


FlatSample = tuple[str, tuple[tuple[str, str], ...], float]

# Round trips: any state, parsed by the client library, says what went in.

action_ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128)
label_names = st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_]{0,20}\Z").filter(
    lambda name: (
        not name.startswith("__")
        and name not in {"action_id", "status", "general_status", "tenant", "reason", "job", "instance"}
    )
)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text('\\"\n\r{}=, #a\x00\u2028', max_size=12)
timestamps = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
statuses = st.builds(
    Status,
    st.none() | texts.filter(bool),
    st.lists(st.integers(0, 2**53), min_size=9, max_size=9).map(tuple),
)


@st.composite
def states(draw: st.DrawFn, action_id: str) -> ActionState:
    """Draw any state that a tracked action can be in."""
    labels = tuple(draw(st.dictionaries(label_names, texts, max_size=3)).items())
    status = draw(st.none() | statuses)
    failure = draw(st.none() | st.sampled_from(Reason))
    if status is None:
        return ActionState(action_id, labels, polled=failure is not None, failure=failure)
    return ActionState(
        action_id,
        labels,
        polled=True,
        status=status,
        failure=failure,
        last_success=draw(timestamps),
        last_change=draw(timestamps),
        stale=draw(st.booleans()),
    )


@st.composite
def fleets(draw: st.DrawFn) -> list[tuple[str | None, ActionState]]:
    """Draw a few actions, of an unnamed tenant or of named ones."""
    tenants = draw(st.just([None]) | st.lists(texts.filter(bool), min_size=1, max_size=2, unique=True))
    return [
        (tenant, draw(states(action_id)))
        for tenant in tenants
        for action_id in draw(st.lists(action_ids, max_size=3, unique=True))
    ]


def samples_of(tenant: str | None, state: ActionState) -> list[FlatSample]:
    """Say in plain values what samples the contract wants for a state."""
    prefix = "cortex_xdr_script_execution_"
    identity = {"action_id": state.action_id} | ({} if tenant is None else {"tenant": tenant})
    wanted: list[tuple[str, dict[str, str], float | None]] = [("labels", dict(state.labels), 1)]
    if state.status is not None:
        if not state.stale:
            counts = zip(STATUSES, state.status.counts, strict=True)
            wanted += [("endpoints", {"status": status}, count) for status, count in counts]
        if state.status.general_status is not None:
            wanted.append(("info", {"general_status": state.status.general_status}, 1))
        wanted.append(("last_success_timestamp_seconds", {}, state.last_success))
        wanted.append(("last_change_timestamp_seconds", {}, state.last_change))
    if state.polled:
        wanted.append(("poll_success", {}, float(state.failure is None)))
    if state.failure is not None:
        wanted.append(("poll_error_info", {"reason": str(state.failure)}, 1))
    return [
        (prefix + name, tuple(sorted((identity | labels).items())), value)
        for name, labels, value in wanted
        if value is not None
    ]


def samples_in(families: Iterable[Metric]) -> list[FlatSample]:
    """Return what the client library's parser read; no sample may have a timestamp or an exemplar."""
    found = []
    for family in families:
        for sample in family.samples:
            assert (sample.timestamp, sample.exemplar) == (None, None)
            found.append((sample.name, tuple(sorted(sample.labels.items())), sample.value))
    return found


@settings(deadline=None)  # A busy machine is no failure.
@given(fleets())
def test_text_says_what_the_states_say(fleet: list[tuple[str | None, ActionState]]) -> None:
    """Read by the client library, text 0.0.4 holds the samples that the states ask for, and no other."""
    wanted = [sample for tenant, state in fleet for sample in samples_of(tenant, state)]
    found = samples_in(text_string_to_metric_families(exposed(*fleet)))
    assert sorted(found) == sorted(wanted)


@settings(deadline=None)  # A busy machine is no failure.
@given(fleets())
def test_openmetrics_says_what_the_states_say(fleet: list[tuple[str | None, ActionState]]) -> None:
    """Read by the client library's strict parser, OpenMetrics holds the same samples, with info families."""
    wanted = [sample for tenant, state in fleet for sample in samples_of(tenant, state)]
    text = exposed(*fleet, openmetrics=True) + "# EOF\n"
    parse = openmetrics_parser.text_string_to_metric_families
    families = list(parse(text))  # type: ignore[no-untyped-call]  # The library leaves it untyped.
    assert sorted(samples_in(families)) == sorted(wanted)
    kinds = {family.name: family.type for family in families}
    assert kinds == {
        name: "info"
        if name in {"cortex_xdr_script_execution", "cortex_xdr_script_execution_poll_error"}
        else "gauge"
        for name in kinds
    }
