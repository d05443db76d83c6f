"""What the exporter serves, as a process asked over real sockets."""

import gzip
import http.client
import re
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support import (
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
    wait_until_equal,
)
from support_metrics import scrape
from support_namespaces import needs_namespaces, run_apart

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault, SimulatedTenant

ACTION = "22519813685366"
COUNTS = Counts(1, 2, 3, 4, 5, 6, 7, 8, 9)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with an action in known counts."""
    return make_tenant({ACTION: Fixed("IN_PROGRESS", COUNTS)})


@pytest.fixture
def exporter(
    tenant: SimulatedTenant, exporter_process: StartExporter, simulator: StartSimulator
) -> ExporterProcess:
    """Start an exporter for that tenant, and wait until it is ready."""
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant})),
            "actions": [{"id": int(ACTION), "labels": {"campaign": 'say "hi"\n', "team": "ops"}}],
        }
    )
    wait_until(lambda: process.get("/-/ready").status_code == 200, "ready")
    return process


def samples(text: str, prefix: str = "cortex_xdr") -> Samples:
    """Return the samples of a text exposition whose names begin so, but for timestamps' values."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


def test_every_metric_of_the_contract_is_there(exporter: ExporterProcess) -> None:
    """All families of actions, tenant and exporter, each with its type, without a tenant label."""
    answer = exporter.get("/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, TEXT)
    kinds = {family.name: family.type for family in parse_text(answer.text)}
    assert {name: kind for name, kind in kinds.items() if name.startswith("cortex_xdr")} == {
        "cortex_xdr_script_execution_endpoints": "gauge",
        "cortex_xdr_script_execution_info": "gauge",
        "cortex_xdr_script_execution_labels": "gauge",
        "cortex_xdr_script_execution_poll_success": "gauge",
        "cortex_xdr_script_execution_last_success_timestamp_seconds": "gauge",
        "cortex_xdr_script_execution_last_change_timestamp_seconds": "gauge",
        "cortex_xdr_up": "gauge",
        "cortex_xdr_exporter_tracked_actions": "gauge",
        "cortex_xdr_exporter_poll_lag_seconds": "gauge",
        "cortex_xdr_exporter_request_rate_limit": "gauge",
        "cortex_xdr_exporter_request_rate_demand": "gauge",
        "cortex_xdr_exporter_requests": "counter",
        "cortex_xdr_exporter_request_failures": "counter",
        "cortex_xdr_exporter_request_duration_seconds": "histogram",
        "cortex_xdr_exporter_build_info": "gauge",
        "cortex_xdr_exporter_config_last_reload_successful": "gauge",
        "cortex_xdr_exporter_config_last_reload_success_timestamp_seconds": "gauge",
        "cortex_xdr_exporter_action_file_last_read_successful": "gauge",
        "cortex_xdr_exporter_action_file_duplicates": "gauge",
        "cortex_xdr_exporter_state_write_failures": "counter",
    }
    assert {"process_cpu_seconds", "process_open_fds", "python_info"} <= set(kinds)
    action = (("action_id", ACTION),)
    of_action = samples(answer.text, "cortex_xdr_script_execution")
    read = of_action.pop(("cortex_xdr_script_execution_last_success_timestamp_seconds", action))
    changed = of_action.pop(("cortex_xdr_script_execution_last_change_timestamp_seconds", action))
    assert read == changed
    expected: Samples = {
        **{
            ("cortex_xdr_script_execution_endpoints", (*action, ("status", status))): float(count)
            for status, count in COUNTS._asdict().items()
        },
        ("cortex_xdr_script_execution_info", (*action, ("general_status", "IN_PROGRESS"))): 1.0,
        (
            "cortex_xdr_script_execution_labels",
            (*action, ("campaign", 'say "hi"\n'), ("team", "ops")),
        ): 1.0,
        ("cortex_xdr_script_execution_poll_success", action): 1.0,
    }
    assert of_action == expected
    of_tenant = samples(answer.text, "cortex_xdr_up") | samples(answer.text, "cortex_xdr_exporter_tracked")
    expected = {
        ("cortex_xdr_up", ()): 1.0,
        **{
            ("cortex_xdr_exporter_tracked_actions", (("state", state),)): float(state == "active")
            for state in ("retired", "failing", "waiting", "settled", "active")
        },
    }
    assert of_tenant == expected
    assert all(sample.timestamp is None for family in parse_text(answer.text) for sample in family.samples)


def test_named_tenants_have_their_label_on_every_metric(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """The same action in two tenants is two series, and each per-tenant metric tells whose it is."""
    one, two = (make_tenant({ACTION: Fixed("PENDING", Counts(pending=n))}) for n in (1, 2))
    url = simulator({"one": one, "two": two})
    process = exporter_process(
        {
            "tenants": [
                {"name": name, "api": api_section(f"{url}/{name}"), "actions": [ACTION]} for name in ("one", "two")
            ]
        }
    )
    wait_until(lambda: process.get("/-/ready").status_code == 200, "ready")
    found = samples(process.get("/metrics").text)
    whole = {
        "build_info",
        "config_last_reload_successful",
        "config_last_reload_success_timestamp_seconds",
        "state_write_failures_total",
    }
    without = {name.removeprefix("cortex_xdr_exporter_") for name, labels in found if "tenant" not in dict(labels)}
    assert without == whole
    pending = {
        dict(labels)["tenant"]: value
        for (name, labels), value in found.items()
        if name == "cortex_xdr_script_execution_endpoints" and dict(labels)["status"] == "pending"
    }
    assert pending == {"one": 1.0, "two": 2.0}


def test_openmetrics_is_given_to_who_prefers_it(exporter: ExporterProcess) -> None:
    """The same samples as OpenMetrics, which its own parser accepts as a whole."""
    answer = exporter.get("/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.headers["Content-Type"] == OPENMETRICS
    families = {family.name: family for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]  # The library's.
    assert families["cortex_xdr_script_execution"].type == "info"
    as_text = {name for name, _ in samples(exporter.get("/metrics").text)}
    assert {
        sample.name
        for family in families.values()
        for sample in family.samples
        if sample.name.startswith("cortex_xdr")
    } == as_text
    assert answer.text.endswith("# EOF\n")


def test_gzip_is_given_on_request_only(exporter: ExporterProcess) -> None:
    """The body is compressed for who accepts it, is the same then, and caches are told."""
    plain = exporter.get("/metrics?name[]=cortex_xdr_script_execution_endpoints", accept_encoding="identity")
    assert "Content-Encoding" not in plain.headers
    host, port = exporter.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request(
        "GET",
        "/metrics?name[]=cortex_xdr_script_execution_endpoints",
        headers={"Accept-Encoding": "deflate, gzip;q=0.5"},
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert gzip.decompress(body) == plain.content
    assert answer.headers["Content-Length"] == str(len(body))


def test_names_select_families(exporter: ExporterProcess) -> None:
    """name[] picks families of actions and of the exporter by the names of their samples."""
    text = exporter.get("/metrics?name[]=cortex_xdr_up&name[]=cortex_xdr_script_execution_info").text
    assert {name for name, _ in samples(text, "")} == {"cortex_xdr_up", "cortex_xdr_script_execution_info"}
    assert exporter.get("/metrics?name[]=nothing").text == ""


def test_head_has_no_body(exporter: ExporterProcess) -> None:
    """HEAD is answered like GET, without the body."""
    host, port = exporter.url.removeprefix("http://").split(":")
    for path in ("/metrics", "/", "/-/healthy", "/-/ready"):
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.close()


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/-/reload", "//", "/%2e%2e/etc/passwd"])
def test_other_paths_are_not_found(exporter: ExporterProcess, path: str) -> None:
    """What is not there is 404, and a slash too many is no redirect; nothing is echoed."""
    answer = exporter.get(path)
    assert (answer.status_code, answer.text) == (404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods_are_not_allowed(exporter: ExporterProcess, method: str) -> None:
    """Whatever the path: only GET and HEAD are answered."""
    host, port = exporter.url.removeprefix("http://").split(":")
    for path in ("/metrics", "/nothing", "/-/reload"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            head = connection.makefile("rb").read().partition(b"\r\n\r\n")[0].decode().lower()
        # A method that is none is refused by the parser.
        assert re.match(
            r"http/1.1 405 .*\r\nallow: get, head" if method != "BREW" else "http/1.1 400", head, re.DOTALL
        )


def test_reload_is_served_if_so_told(exporter_process: StartExporter) -> None:
    """With --web.enable-lifecycle it takes a POST and nothing else; all other paths are read only as before."""
    configuration = {"api": api_section("https://api-acme.example")}
    process = exporter_process(configuration, "--web.enable-lifecycle", "--web.telemetry-path=/-/reload/metrics")
    answer = process.post("/-/reload")
    assert (answer.status_code, answer.text) == (200, "The configuration was reloaded.\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer = process.get("/-/reload")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert process.get("/-/reload/").status_code == 404
    assert process.get("/-/reload/metrics").headers["Content-Type"] == TEXT
    for path in ("/-/reload/", "/-/reload/metrics", "/metrics", "/-/healthy", "/"):
        answer = process.post(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    process.configure("api: [")
    answer = process.post("/-/reload")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "text/plain; charset=utf-8")


def test_reload_is_not_served_otherwise(exporter: ExporterProcess) -> None:
    """By default nobody changes anything by a request: a broken file is not even looked at."""
    exporter.configure("api: [")
    answer = exporter.post("/-/reload")
    assert (answer.status_code, answer.text, answer.headers["Allow"]) == (405, "Method not allowed\n", "GET, HEAD")
    assert exporter.get("/-/reload").status_code == 404
    assert scrape(exporter).value("exporter_config_last_reload_successful") == 1.0


def test_telemetry_path_can_be_chosen(exporter_process: StartExporter) -> None:
    """The metrics move, the page links to them, and at / they take its place."""
    configuration = {"api": api_section("https://api-acme.example")}
    moved = exporter_process(configuration, "--web.telemetry-path=/here")
    assert moved.get("/here").headers["Content-Type"] == TEXT
    assert '<a href="./here">' in moved.get("/").text
    assert moved.get("/metrics").status_code == 404
    rooted = exporter_process(configuration, "--web.telemetry-path=/")
    assert rooted.get("/").headers["Content-Type"] == TEXT


def test_ready_after_the_first_pass(
    exporter_process: StartExporter, simulator: StartSimulator, tenant: SimulatedTenant
) -> None:
    """503 until every action was polled once, well or not; healthy all along."""
    tenant.inject(Fault(hang=True))
    url = simulator({"": tenant})
    waiting = exporter_process({"api": api_section(url, timeout="1h"), "actions": [ACTION]})
    assert waiting.get("/-/ready").status_code == 503
    assert waiting.get("/-/healthy").status_code == 200
    assert samples(waiting.get("/metrics").text, "cortex_xdr_script_execution") == {
        ("cortex_xdr_script_execution_labels", (("action_id", ACTION),)): 1.0
    }
    polled = exporter_process({"api": api_section(url, timeout="500ms"), "actions": [ACTION]})
    wait_until_equal(lambda: polled.get("/-/ready").status_code, 200)
    assert samples(polled.get("/metrics").text, "cortex_xdr_script_execution_poll") == {
        ("cortex_xdr_script_execution_poll_success", (("action_id", ACTION),)): 0.0,
        (
            "cortex_xdr_script_execution_poll_error_info",
            (("action_id", ACTION), ("reason", "timeout")),
        ): 1.0,
    }


def test_tenant_that_hangs_delays_no_other(
    exporter_process: StartExporter, simulator: StartSimulator, tenant: SimulatedTenant
) -> None:
    """Beside a tenant without answers another one is polled on time, and the scrape is answered."""
    silent = make_tenant({})
    silent.inject(Fault(hang=True))
    url = simulator({"well": tenant, "silent": silent})
    process = exporter_process(
        {
            "tenants": [
                {
                    "name": "silent",
                    "api": api_section(f"{url}/silent", timeout="60s", requests_per_second=10),
                    "actions": list(range(100)),
                },
                {
                    "name": "well",
                    "api": api_section(f"{url}/well", requests_per_second=10),
                    "actions": [ACTION],
                },
            ],
            "poll": {"interval": "200ms"},
        }
    )
    wait_until(lambda: len(silent.requests) >= 15, "fifteen polls hang")
    wait_until(lambda: len(tenant.requests) >= 8, "the other tenant is polled on")
    found = samples(process.get("/metrics").text, "cortex_xdr_up")
    assert found == {("cortex_xdr_up", (("tenant", "well"),)): 1.0}
    assert process.stop() == 0


def test_ten_thousand_actions_over_a_hundred_tenants_are_held(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """Each is polled once within its tenant's budget, and a scrape has nine statuses of each."""
    life = Fixed("PENDING", COUNTS)
    tenants = {f"t{number}": make_tenant({str(action): life for action in range(100)}) for number in range(100)}
    url = simulator(tenants)
    process = exporter_process(
        {
            "tenants": [
                {
                    "name": name,
                    "api": api_section(f"{url}/{name}", requests_per_second=5, timeout="60s"),
                    "actions": list(range(100)),
                }
                for name in tenants
            ],
            "poll": {"interval": "1h", "stale_after": "0s"},
        }
    )
    wait_until_equal(lambda: process.get("/-/ready").status_code, 200, timeout=300)
    text = process.get("/metrics").text
    assert text.count("\ncortex_xdr_script_execution_endpoints{") == 90_000
    assert text.count("\ncortex_xdr_script_execution_poll_success{") == 10_000
    assert all(len(tenant.requests) >= 100 for tenant in tenants.values())


@needs_namespaces
def test_all_addresses_are_the_default(tmp_path: Path) -> None:
    """Without a host both families are served, and IPv4 alone where the kernel has no IPv6."""
    (tmp_path / "script.py").write_text("""
import fcntl, socket, struct
from exporter.web.server import ListenError, listen
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
    fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS: up and running.
with listen("", 0) as server:
    port = server.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()
        print(host)
    try:
        listen("", port)
    except ListenError as error:
        print(str(error).replace(str(port), "PORT"))
try:
    listen("nowhere.invalid", 0)
except ListenError as error:
    print(str(error).partition(": ")[0])
with open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "w") as switch:
    switch.write("1")
with listen("", 0) as server:
    socket.create_connection(("127.0.0.1", server.getsockname()[1])).close()
    print("IPv4 alone")
""")
    done = run_apart(f"{sys.executable} {tmp_path}/script.py", net=True)
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "127.0.0.1",
            "::1",
            "cannot listen on :PORT: Address already in use",
            "cannot listen on nowhere.invalid:0",
            "IPv4 alone",
        ],
        "",
    )
