"""The exporter's own metrics, through the client library.

The rule: what others know is read from them at the scrape; only what happens between scrapes is counted here.
With named tenants each family of a tenant carries the ``tenant`` label.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.errors import Reason
from exporter.sharding import ALONE, Share
from exporter.snapshot import TenantSnapshot
from exporter.tracking import FileState

_PREFIX = "cortex_xdr_exporter"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class TenantTelemetry:
    """Counts the requests of one tenant; made by :meth:`Telemetry.add_tenant`."""

    def __init__(self, requests: Counter, duration: Histogram, failures: Mapping[Reason, Counter]) -> None:
        self._requests = requests
        self._duration = duration
        self._failures = failures

    def sent(self) -> None:
        """Count a request as it leaves."""
        self._requests.inc()

    def finished(self, seconds: float, failure: Reason | None) -> None:
        """Count the end of a request: how long it took, and why it failed if it did."""
        self._duration.observe(seconds)
        if failure is not None:
            self._failures[failure].inc()


class Telemetry:
    """Holds the exporter's own metrics in a registry of its own.

    ``named`` says whether tenants have names, and so whether their metrics have the ``tenant`` label.
    """

    def __init__(self, *, named: bool = False) -> None:
        # A switch of the client library's for the whole process: "_created" series double the counters.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library leaves it untyped.
        self._registry = CollectorRegistry(auto_describe=True)
        self._tenants = _Tenants(self._registry, named=named)
        build = Info(f"{_PREFIX}_build", "The version that runs.", registry=self._registry)
        build.info({"version": __version__, "python_version": platform.python_version()})
        self._reload_successful = Gauge(
            f"{_PREFIX}_config_last_reload_successful",
            "Whether the last attempt to load the configuration succeeded.",
            registry=self._registry,
        )
        self._reload_timestamp = Gauge(
            f"{_PREFIX}_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully.",
            registry=self._registry,
        )
        self._web_reload_successful: Gauge | None = None
        self._action_files = _ActionFileCollector()
        self._registry.register(self._action_files)
        self._shares = _ShareCollector()
        self._registry.register(self._shares)
        self._state_failures = Counter(
            f"{_PREFIX}_state_write_failures_total",
            "Failed attempts to read or write the state file.",
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def name_tenants(self, *, named: bool) -> None:
        """Begin anew with other labels, where tenants have names now and had none, or the other way round."""
        if named != self._tenants.named:
            self._tenants.unregister()
            self._tenants = _Tenants(self._registry, named=named)

    def add_tenant(self, tenant: str | None) -> TenantTelemetry:
        """Begin to count for a tenant, every failure's reason from 0: a first one must be seen as an increase."""
        return self._tenants.add(tenant)

    def watch_tenant(self, tenant: str | None, snapshot: Callable[[], TenantSnapshot]) -> None:
        """Ask a tenant's poller at each scrape how it is."""
        self._tenants.snapshots[tenant] = snapshot

    def remove_tenant(self, tenant: str | None) -> None:
        """Drop all metrics of a tenant."""
        self._tenants.remove(tenant)

    def configuration_loaded(self, wall_now: float) -> None:
        """Note that the configuration was loaded."""
        self._reload_successful.set(1)
        self._reload_timestamp.set(wall_now)

    def configuration_refused(self) -> None:
        """Note that a configuration could not be used, and that the one before stays."""
        self._reload_successful.set(0)

    def web_configuration_loaded(self, successfully: bool) -> None:  # noqa: FBT001 - handed on as a callable
        """Note whether the web configuration file, as it is now, is in force; never called, there is none."""
        if self._web_reload_successful is None:
            self._web_reload_successful = Gauge(
                f"{_PREFIX}_web_config_last_reload_successful",
                "Whether the web configuration file, as it is now, is in force.",
                registry=self._registry,
            )
        self._web_reload_successful.set(successfully)

    def watch_action_files(self, snapshot: Callable[[], Mapping[str, FileState]]) -> None:
        """Ask at each scrape how the action files are."""
        self._action_files.snapshot = snapshot

    def watch_share(self, share: Callable[[], Share | None]) -> None:
        """Ask at each scrape which of the configured tenants are on this shard, if there are several."""
        self._shares.share = share

    def state_failed(self) -> None:
        """Count a failed attempt to use the state file."""
        self._state_failures.inc()

    def expose(self, *, openmetrics: bool, names: Iterable[str] | None = None) -> bytes:
        """Render the metrics in the client library's words, OpenMetrics with its end mark."""
        registry = self._registry if names is None else self._registry.restricted_registry(names)
        render: Callable[[Collector], bytes] = generate_openmetrics if openmetrics else generate_latest
        return render(registry)


class _Tenants:
    """The metrics of tenants: what is counted, and what their pollers say of themselves."""

    def __init__(self, registry: CollectorRegistry, *, named: bool) -> None:
        self.named = named
        self.snapshots: dict[str | None, Callable[[], TenantSnapshot]] = {}
        self._registry = registry
        labels = ("tenant",) if named else ()
        self._collector = _TenantCollector(labels, self.snapshots)
        registry.register(self._collector)
        self._requests = Counter(
            f"{_PREFIX}_requests_total", "Requests sent to the tenant's API.", labels, registry=registry
        )
        self._failures = Counter(
            f"{_PREFIX}_request_failures_total",
            "Requests to the tenant's API that gave no status, by reason.",
            (*labels, "reason"),
            registry=registry,
        )
        self._duration = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "How long requests to the tenant's API took, those given up at the timeout included.",
            labels,
            registry=registry,
            buckets=_BUCKETS,
        )

    def add(self, tenant: str | None) -> TenantTelemetry:
        labels = () if tenant is None else (tenant,)
        return TenantTelemetry(
            self._requests.labels(*labels) if labels else self._requests,
            self._duration.labels(*labels) if labels else self._duration,
            {reason: self._failures.labels(*labels, reason) for reason in Reason},
        )

    def remove(self, tenant: str | None) -> None:
        self.snapshots.pop(tenant, None)
        if tenant is None:
            return  # Without labels there is nothing to take out: the one tenant that comes next counts on.
        self._requests.remove(tenant)
        self._duration.remove(tenant)
        for reason in Reason:
            self._failures.remove(tenant, reason)

    def unregister(self) -> None:
        for collector in (self._collector, self._requests, self._failures, self._duration):
            self._registry.unregister(collector)


class _TenantCollector(Collector):
    """Turns the tenants' snapshots into metric families."""

    def __init__(
        self, labels: tuple[str, ...], snapshots: Mapping[str | None, Callable[[], TenantSnapshot]]
    ) -> None:
        self._labels = labels
        self._snapshots = snapshots

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each thing that a snapshot says."""
        up = GaugeMetricFamily(
            "cortex_xdr_up",
            "Whether the tenant's last finished request was answered well, be it that an action does not exist.",
            labels=self._labels,
        )
        tracked = GaugeMetricFamily(
            "cortex_xdr_exporter_tracked_actions",
            "Actions of the tenant by state: retired, failing (last poll failed), waiting (not polled yet), "
            "settled or active.",
            labels=(*self._labels, "state"),
        )
        lag = GaugeMetricFamily(
            "cortex_xdr_exporter_poll_lag_seconds",
            "How late the most overdue poll of an unfinished action is.",
            labels=self._labels,
        )
        limit = GaugeMetricFamily(
            "cortex_xdr_exporter_request_rate_limit",
            "Requests per second that are allowed at the moment.",
            labels=self._labels,
        )
        demand = GaugeMetricFamily(
            "cortex_xdr_exporter_request_rate_demand",
            "Requests per second that the polling intervals ask for.",
            labels=self._labels,
        )
        for tenant, snapshot in list(self._snapshots.items()):
            values = [] if tenant is None else [tenant]
            now = snapshot()
            if now.up is not None:
                up.add_metric(values, now.up)
            for phase, count in now.phases.items():
                tracked.add_metric([*values, phase], count)
            lag.add_metric(values, now.lag_seconds)
            limit.add_metric(values, now.rate_limit)
            demand.add_metric(values, now.rate_demand)
        yield from (up, tracked, lag, limit, demand)


class _ActionFileCollector(Collector):
    """Turns what is known of action files into metric families."""

    def __init__(self) -> None:
        self.snapshot: Callable[[], Mapping[str, FileState]] = dict

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each thing that is known of a file."""
        success = GaugeMetricFamily(
            f"{_PREFIX}_action_file_last_read_successful",
            "Whether the action file could be read; if not, its last good content counts.",
            labels=("file",),
        )
        duplicates = GaugeMetricFamily(
            f"{_PREFIX}_action_file_duplicates",
            "Entries of the action file that are ignored, because their action is tracked already.",
            labels=("file",),
        )
        for file, state in self.snapshot().items():
            success.add_metric([file], state.read_successfully)
            duplicates.add_metric([file], state.duplicates)
        yield from (success, duplicates)


class _ShareCollector(Collector):
    """Turns what a shard has of the tenants into metric families, of which a process on its own has none."""

    def __init__(self) -> None:
        self.share: Callable[[], Share | None] = lambda: None

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families that there may be, by whose names they can be asked for."""
        return self._families(Share(ALONE, 0, 0))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each thing that a share says."""
        share = self.share()
        return iter(()) if share is None else self._families(share)

    @staticmethod
    def _families(share: Share) -> Iterator[GaugeMetricFamily]:
        for name, text, value in (
            ("shard_index", "Which shard this is, counted from 0.", share.shard.index),
            ("shards", "Over how many shards the tenants are spread.", share.shard.total),
            ("shard_tenants", "Tenants of this shard.", share.tenants),
            ("configured_tenants", "Tenants in the configuration, on whichever shard.", share.configured),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value)
