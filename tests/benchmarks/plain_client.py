"""The peer of the benchmarks: the series on standard input as plain prometheus-client objects, on its own server.

Prints the port that it serves on, then serves until it is killed.
"""

import sys
import threading

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.parser import text_fd_to_metric_families


def main() -> None:
    """Make a gauge of each family, its samples as children, and serve them."""
    registry = CollectorRegistry()
    for family in text_fd_to_metric_families(sys.stdin):
        if not family.name.startswith("cortex_xdr_script_execution"):
            continue
        labels = tuple(family.samples[0].labels)
        gauge = Gauge(family.name, family.documentation, labels, registry=registry)
        for sample in family.samples:
            gauge.labels(*(sample.labels[label] for label in labels)).set(sample.value)
    server, _ = start_http_server(0, "127.0.0.1", registry)
    print(server.server_port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
