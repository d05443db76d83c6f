"""The exporter's own metrics: the whole exposition of a fresh one, in both formats, and what moves it."""

import platform
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from support_tenant import tenant_snapshot

from exporter import __version__
from exporter.errors import Reason
from exporter.sharding import Shard, Share
from exporter.snapshot import TenantSnapshot
from exporter.store import Phase
from exporter.telemetry import Telemetry, TenantTelemetry
from exporter.tracking import FileState

Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
Families = list[Family]

PREFIX = "cortex_xdr_exporter"
DURATION = f"{PREFIX}_request_duration_seconds"
SAMPLES = [
    ["cortex_xdr_up"],
    [f"{PREFIX}_tracked_actions"],
    [f"{PREFIX}_poll_lag_seconds"],
    [f"{PREFIX}_request_rate_limit"],
    [f"{PREFIX}_request_rate_demand"],
    [f"{PREFIX}_requests_total"],
    [f"{PREFIX}_request_failures_total"],
    [f"{DURATION}_bucket", f"{DURATION}_count", f"{DURATION}_sum"],
    [f"{PREFIX}_build_info"],
    [f"{PREFIX}_config_last_reload_successful"],
    [f"{PREFIX}_config_last_reload_success_timestamp_seconds"],
    [f"{PREFIX}_action_file_last_read_successful"],
    [f"{PREFIX}_action_file_duplicates"],
    [f"{PREFIX}_state_write_failures_total"],
]
"""The names of each family's samples, in the order of the exposition."""

BUCKETS = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "60.0", "+Inf")
TRACKED_HELP = (
    "Actions of the tenant by state: retired, failing (last poll failed), waiting (not polled yet), "
    "settled or active."
)
READ_HELP = "Whether the action file could be read; if not, its last good content counts."
DUPLICATES_HELP = "Entries of the action file that are ignored, because their action is tracked already."
EVERY_PHASE = {phase: number for number, phase in enumerate(Phase, 1)}


def snapshot(*, up: bool | None = True) -> TenantSnapshot:
    """Return what a tenant's poller could say of itself."""
    return tenant_snapshot(up=up, phases=EVERY_PHASE, lag_seconds=12.5, rate_demand=0.25)


def flat(families: Iterable[Metric]) -> Families:
    """Return parsed families as plain values; no sample may have a timestamp or an exemplar."""
    found = []
    for family in families:
        for sample in family.samples:
            assert (sample.timestamp, sample.exemplar) == (None, None)
        samples = [(sample.name, sample.labels, sample.value) for sample in family.samples]
        found.append((family.name, family.type, family.documentation, samples))
    return found


def parse(exposed: bytes, *, openmetrics: bool) -> Families:
    """Read an exposition with the client library's parser."""
    if not openmetrics:
        return flat(text_string_to_metric_families(exposed.decode()))
    strict = openmetrics_parser.text_string_to_metric_families
    return flat(strict(exposed.decode()))  # type: ignore[no-untyped-call]  # The library leaves it untyped.


def families_of(telemetry: Telemetry, *names: str) -> Families:
    """Return the families of these sample names, in the order of names: the library's is chance."""
    return sorted(parse(telemetry.expose(openmetrics=False, names=names), openmetrics=False))


def fresh_families(*tenants: str | None, openmetrics: bool) -> Families:
    """Say in plain values what a fresh telemetry exposes for tenants that have been asked nothing yet."""
    of = [{} if tenant is None else {"tenant": tenant} for tenant in tenants]
    counted_last = [{**labels, "reason": reason.value} for labels in of for reason in Reason]

    def gauge(name: str, text: str, value: float, labels: Iterable[dict[str, str]] = ({},)) -> Family:
        return name, "gauge", text, [(name, each, value) for each in labels]

    return [
        (
            "cortex_xdr_up",
            "gauge",
            "Whether the tenant's last finished request was answered well, be it that an action does not exist.",
            [],
        ),
        (
            f"{PREFIX}_tracked_actions",
            "gauge",
            TRACKED_HELP,
            [
                (f"{PREFIX}_tracked_actions", {**labels, "state": phase.value}, number)
                for labels in of
                for number, phase in enumerate(Phase, 1)
            ],
        ),
        gauge(
            f"{PREFIX}_poll_lag_seconds", "How late the most overdue poll of an unfinished action is.", 12.5, of
        ),
        gauge(f"{PREFIX}_request_rate_limit", "Requests per second that are allowed at the moment.", 5.0, of),
        gauge(
            f"{PREFIX}_request_rate_demand", "Requests per second that the polling intervals ask for.", 0.25, of
        ),
        (
            f"{PREFIX}_requests",
            "counter",
            "Requests sent to the tenant's API.",
            [(f"{PREFIX}_requests_total", labels, 0.0) for labels in of],
        ),
        (
            f"{PREFIX}_request_failures",
            "counter",
            "Requests to the tenant's API that gave no status, by reason.",
            [(f"{PREFIX}_request_failures_total", labels, 0.0) for labels in counted_last],
        ),
        (
            DURATION,
            "histogram",
            "How long requests to the tenant's API took, those given up at the timeout included.",
            [
                sample
                for labels in of
                for sample in (
                    *((f"{DURATION}_bucket", {**labels, "le": bound}, 0.0) for bound in BUCKETS),
                    (f"{DURATION}_count", labels, 0.0),
                    (f"{DURATION}_sum", labels, 0.0),
                )
            ],
        ),
        (
            f"{PREFIX}_build" if openmetrics else f"{PREFIX}_build_info",
            "info" if openmetrics else "gauge",
            "The version that runs.",
            [
                (
                    f"{PREFIX}_build_info",
                    {"version": __version__, "python_version": platform.python_version()},
                    1.0,
                )
            ],
        ),
        gauge(
            f"{PREFIX}_config_last_reload_successful",
            "Whether the last attempt to load the configuration succeeded.",
            0.0,
        ),
        gauge(
            f"{PREFIX}_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully.",
            0.0,
        ),
        gauge(f"{PREFIX}_action_file_last_read_successful", READ_HELP, 1.0, ()),
        gauge(f"{PREFIX}_action_file_duplicates", DUPLICATES_HELP, 0.0, ()),
        (
            f"{PREFIX}_state_write_failures",
            "counter",
            "Failed attempts to read or write the state file.",
            [(f"{PREFIX}_state_write_failures_total", {}, 0.0)],
        ),
    ]


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("tenants", [(None,), ("acme", 'b "c"\\\n')], ids=["unnamed", "two named"])
def test_fresh_telemetry_is_complete(tenants: tuple[str | None, ...], *, openmetrics: bool) -> None:
    """Before the first answer all is there from 0 but up, labelled by tenant exactly if tenants have names.

    Nothing else is there: no ``_created`` series, no timestamps, and no family but the client library's own.
    """
    telemetry = Telemetry(named=tenants != (None,))
    for tenant in tenants:
        telemetry.add_tenant(tenant)
        telemetry.watch_tenant(tenant, lambda: snapshot(up=None))
    found = parse(telemetry.expose(openmetrics=openmetrics), openmetrics=openmetrics)
    of_the_library = [family for family in found if family[0].startswith(("process_", "python_"))]
    assert [family for family in found if family not in of_the_library] == fresh_families(
        *tenants, openmetrics=openmetrics
    )
    assert {family[0].partition("_")[0] for family in of_the_library} == {"process", "python"}


@pytest.mark.parametrize(("up", "value"), [(True, 1.0), (False, 0.0)])
def test_up_is_there_from_the_first_answer(*, up: bool, value: float) -> None:
    """A tenant that has answered is up or not; one that has not has no sample beside it."""
    telemetry = Telemetry(named=True)
    telemetry.watch_tenant("answered", lambda: snapshot(up=up))
    telemetry.watch_tenant("silent", lambda: snapshot(up=None))
    assert families_of(telemetry, "cortex_xdr_up") == [
        (
            "cortex_xdr_up",
            "gauge",
            "Whether the tenant's last finished request was answered well, be it that an action does not exist.",
            [("cortex_xdr_up", {"tenant": "answered"}, value)],
        )
    ]


def test_snapshot_is_taken_at_each_scrape() -> None:
    """What a poller says is read when it is asked for, not before."""
    telemetry = Telemetry(named=False)
    lags = iter([1.0, 2.0])
    telemetry.watch_tenant(None, lambda: tenant_snapshot(lag_seconds=next(lags)))
    name = f"{PREFIX}_poll_lag_seconds"
    text = "How late the most overdue poll of an unfinished action is."
    for lag in (1.0, 2.0):
        assert families_of(telemetry, name) == [(name, "gauge", text, [(name, {}, lag)])]


def test_requests_are_counted_as_they_leave_and_end() -> None:
    """Each request counts when sent; its duration and its failure count when it ends, for its tenant alone."""
    telemetry = Telemetry(named=True)
    acme, other = telemetry.add_tenant("acme"), telemetry.add_tenant("other")
    for _ in range(3):
        acme.sent()
    other.sent()
    acme.finished(0.2, None)
    acme.finished(10.0, Reason.TIMEOUT)
    acme.finished(75.0, Reason.TIMEOUT)
    (requests,) = families_of(telemetry, f"{PREFIX}_requests_total")
    (failures,) = families_of(telemetry, f"{PREFIX}_request_failures_total")
    (durations,) = families_of(telemetry, f"{DURATION}_bucket", f"{DURATION}_count", f"{DURATION}_sum")
    assert requests[3] == [
        (f"{PREFIX}_requests_total", {"tenant": "acme"}, 3.0),
        (f"{PREFIX}_requests_total", {"tenant": "other"}, 1.0),
    ]
    assert [sample for sample in failures[3] if sample[2]] == [
        (f"{PREFIX}_request_failures_total", {"tenant": "acme", "reason": "timeout"}, 2.0)
    ]
    cumulative = (0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0)
    assert durations[3] == [
        *(
            (f"{DURATION}_bucket", {"tenant": "acme", "le": bound}, count)
            for bound, count in zip(BUCKETS, cumulative, strict=True)
        ),
        (f"{DURATION}_count", {"tenant": "acme"}, 3.0),
        (f"{DURATION}_sum", {"tenant": "acme"}, 85.2),
        *((f"{DURATION}_bucket", {"tenant": "other", "le": bound}, 0.0) for bound in BUCKETS),
        (f"{DURATION}_count", {"tenant": "other"}, 0.0),
        (f"{DURATION}_sum", {"tenant": "other"}, 0.0),
    ]


def test_loaded_configuration_is_dated() -> None:
    """A configuration that was loaded is a success with its time."""
    telemetry = Telemetry(named=False)
    telemetry.configuration_loaded(1_700_000_000.5)
    names = [
        f"{PREFIX}_config_last_reload_success_timestamp_seconds",
        f"{PREFIX}_config_last_reload_successful",
    ]
    assert [family[3] for family in families_of(telemetry, *names)] == [
        [(names[0], {}, 1_700_000_000.5)],
        [(names[1], {}, 1.0)],
    ]


def test_refused_configuration_keeps_the_time_of_the_last_good_one() -> None:
    """A configuration that cannot be used is a failure until one is loaded; the last success keeps its time."""
    telemetry = Telemetry(named=False)
    names = [
        f"{PREFIX}_config_last_reload_success_timestamp_seconds",
        f"{PREFIX}_config_last_reload_successful",
    ]

    def values() -> list[float]:
        return [family[3][0][2] for family in families_of(telemetry, *names)]

    telemetry.configuration_loaded(1_000.5)
    telemetry.configuration_refused()
    assert values() == [1_000.5, 0.0]
    telemetry.configuration_refused()
    assert values() == [1_000.5, 0.0]
    telemetry.configuration_loaded(2_000.0)
    assert values() == [2_000.0, 1.0]


def test_web_configuration_is_told_of_where_there_is_one() -> None:
    """Without a web configuration there is no metric; with one it says whether the file, as it is, is in force."""
    telemetry = Telemetry()
    name = f"{PREFIX}_web_config_last_reload_successful"
    assert families_of(telemetry, name) == []
    for successfully in (True, False, True):
        telemetry.web_configuration_loaded(successfully)
        assert [family[3] for family in families_of(telemetry, name)] == [[(name, {}, float(successfully))]]


def test_action_files_are_asked_for_at_each_scrape() -> None:
    """Each file is read well or not, with the number of its entries that are ignored; one that is gone is gone."""
    telemetry = Telemetry(named=False)
    files = {
        "a.yaml": FileState(read_successfully=True, duplicates=0),
        'b "c"\\\n.yaml': FileState(read_successfully=False, duplicates=3),
    }
    telemetry.watch_action_files(lambda: files)
    names = [f"{PREFIX}_action_file_duplicates", f"{PREFIX}_action_file_last_read_successful"]

    def exposed() -> Families:
        return families_of(telemetry, *names)

    assert exposed() == [
        (
            names[0],
            "gauge",
            DUPLICATES_HELP,
            [(names[0], {"file": "a.yaml"}, 0.0), (names[0], {"file": 'b "c"\\\n.yaml'}, 3.0)],
        ),
        (
            names[1],
            "gauge",
            READ_HELP,
            [(names[1], {"file": "a.yaml"}, 1.0), (names[1], {"file": 'b "c"\\\n.yaml'}, 0.0)],
        ),
    ]
    del files["a.yaml"]
    files['b "c"\\\n.yaml'] = FileState(read_successfully=True, duplicates=3)
    assert [family[3] for family in exposed()] == [
        [(names[0], {"file": 'b "c"\\\n.yaml'}, 3.0)],
        [(names[1], {"file": 'b "c"\\\n.yaml'}, 1.0)],
    ]


def test_share_is_told_where_there_are_several_shards() -> None:
    """Without shards there is no metric; with them it is asked for at each scrape, and can be selected by name."""
    telemetry = Telemetry()
    names = [f"{PREFIX}_{name}" for name in ("configured_tenants", "shard_index", "shard_tenants", "shards")]
    assert families_of(telemetry, *names) == []
    share: Share | None = None
    telemetry.watch_share(lambda: share)
    assert families_of(telemetry, *names) == []
    for tenants, configured in ((4, 11), (0, 2)):
        share = Share(Shard(1, 3), tenants, configured)
        texts_and_values = [
            ("Tenants in the configuration, on whichever shard.", configured),
            ("Which shard this is, counted from 0.", 1),
            ("Tenants of this shard.", tenants),
            ("Over how many shards the tenants are spread.", 3),
        ]
        assert families_of(telemetry, *names) == [
            (name, "gauge", text, [(name, {}, float(value))])
            for name, (text, value) in zip(names, texts_and_values, strict=True)
        ]


def test_failures_of_the_state_file_are_counted() -> None:
    """Each failed attempt counts one."""
    telemetry = Telemetry(named=True)
    telemetry.state_failed()
    telemetry.state_failed()
    name = f"{PREFIX}_state_write_failures_total"
    assert [family[3] for family in families_of(telemetry, name)] == [[(name, {}, 2.0)]]


def used(telemetry: Telemetry, *tenants: str | None) -> list[TenantTelemetry]:
    """Begin to count for tenants, and let each send a request that fails and one that does not."""
    counting = []
    for tenant in tenants:
        of_the_tenant = telemetry.add_tenant(tenant)
        telemetry.watch_tenant(tenant, snapshot)
        for failure in (None, Reason.TIMEOUT):
            of_the_tenant.sent()
            of_the_tenant.finished(1.0, failure)
        counting.append(of_the_tenant)
    return counting


def of_tenants(telemetry: Telemetry) -> Families:
    """Return the tenants' families, in the order of names."""
    return families_of(telemetry, *(name for names in SAMPLES[:8] for name in names))


def test_removed_tenant_leaves_nothing() -> None:
    """All that a tenant had is gone, and what its last requests still count is seen by nobody."""
    telemetry, alone = Telemetry(named=True), Telemetry(named=True)
    gone, _ = used(telemetry, "gone", "stays")
    used(alone, "stays")
    telemetry.remove_tenant("gone")
    gone.sent()
    gone.finished(1.0, Reason.TIMEOUT)
    assert of_tenants(telemetry) == of_tenants(alone)


def test_tenant_that_comes_back_counts_from_zero() -> None:
    """A tenant of the same name as one that was removed is another one."""
    telemetry, fresh = Telemetry(named=True), Telemetry(named=True)
    used(telemetry, "acme")
    telemetry.remove_tenant("acme")
    used(telemetry, "acme")
    used(fresh, "acme")
    assert of_tenants(telemetry) == of_tenants(fresh)


def test_tenant_without_a_name_counts_on_when_another_takes_its_place() -> None:
    """Counters without labels never go back: the next unnamed tenant adds to them; its state is its own."""
    telemetry = Telemetry(named=False)
    used(telemetry, None)
    telemetry.remove_tenant(None)
    counted, state = f"{PREFIX}_requests_total", f"{PREFIX}_poll_lag_seconds"
    assert [family[3] for family in families_of(telemetry, counted, state)] == [[(counted, {}, 2.0)]]
    used(telemetry, None)
    assert [family[3] for family in families_of(telemetry, counted, state)] == [
        [(state, {}, 12.5)],
        [(counted, {}, 4.0)],
    ]


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize(("before", "after"), [((None,), ("acme", "other")), (("acme", "other"), (None,))])
def test_tenants_that_get_or_lose_their_names_begin_anew(
    before: tuple[str | None, ...], after: tuple[str | None, ...], *, openmetrics: bool
) -> None:
    """With other labels all is as if it had begun with them; nothing is left of those before."""
    telemetry = Telemetry(named=before != (None,))
    used(telemetry, *before)
    for tenant in before:
        telemetry.remove_tenant(tenant)
    telemetry.name_tenants(named=after != (None,))
    for tenant in after:
        telemetry.add_tenant(tenant)
        telemetry.watch_tenant(tenant, lambda: snapshot(up=None))
    found = parse(telemetry.expose(openmetrics=openmetrics), openmetrics=openmetrics)
    ours = [family for family in found if not family[0].startswith(("process_", "python_"))]
    assert sorted(ours) == sorted(fresh_families(*after, openmetrics=openmetrics))


@pytest.mark.parametrize("tenants", [(None,), ("acme", "other")])
def test_tenants_that_keep_their_labels_count_on(tenants: tuple[str | None, ...]) -> None:
    """Where names are had as before, nothing happens."""
    telemetry = Telemetry(named=tenants != (None,))
    used(telemetry, *tenants)
    before = of_tenants(telemetry)
    telemetry.name_tenants(named=tenants != (None,))
    assert of_tenants(telemetry) == before


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("names", SAMPLES, ids=lambda names: names[0])
def test_names_leave_only_the_families_named(names: list[str], *, openmetrics: bool) -> None:
    """Each family can be asked for alone, by the names of its samples, in both formats."""
    telemetry = Telemetry(named=False)
    telemetry.add_tenant(None)
    telemetry.watch_tenant(None, snapshot)
    telemetry.watch_action_files(lambda: {"a.yaml": FileState(read_successfully=True, duplicates=0)})
    found = parse(telemetry.expose(openmetrics=openmetrics, names=names), openmetrics=openmetrics)
    whole = parse(telemetry.expose(openmetrics=openmetrics), openmetrics=openmetrics)
    assert found == [whole[SAMPLES.index(names)]]
    assert {sample[0] for family in found for sample in family[3]} == set(names)


@pytest.mark.parametrize(("openmetrics", "nothing"), [(False, b""), (True, b"# EOF\n")])
@pytest.mark.parametrize("names", [[], ["no_such_family"]])
def test_names_of_nothing_leave_nothing(names: list[str], nothing: bytes, *, openmetrics: bool) -> None:
    """A name that no family has is no error: there is nothing but the format's end mark."""
    assert Telemetry(named=False).expose(openmetrics=openmetrics, names=names) == nothing


def test_telemetry_without_tenants_has_no_samples_of_one() -> None:
    """The tenants' families are there from the start, and empty until there is a tenant."""
    found = parse(Telemetry(named=True).expose(openmetrics=False), openmetrics=False)
    assert found[: len(SAMPLES)] == fresh_families(openmetrics=False)


def test_two_telemetries_do_not_share_counts() -> None:
    """Each holds its own registry."""
    first, second = Telemetry(named=False), Telemetry(named=False)
    first.add_tenant(None).sent()
    second.add_tenant(None)
    name = f"{PREFIX}_requests_total"
    counts = [families_of(telemetry, name)[0][3] for telemetry in (first, second)]
    assert counts == [[(name, {}, 1.0)], [(name, {}, 0.0)]]
