"""The peer of scrapes and memory: the series of a file as plain prometheus-client objects, on its own server.

``python plain_client.py FILE PORT`` serves until it is killed. The rule: it holds nothing but its metrics, and
texts that several of them share once, as a program that has them from its own objects would.
"""

import re
import sys
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, start_http_server

_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)\n")
_LABEL = re.compile(r'(\w+)="([^"\\]*)"')


def main() -> None:
    """Make a gauge of each family, its samples as children, and serve them."""
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    help_text = ""
    with Path(sys.argv[1]).open() as lines:
        for line in lines:
            if line.startswith("# HELP "):
                help_text = line.split(" ", 3)[3].strip()
            sample = _SAMPLE.fullmatch(line)
            if sample is not None:
                labels = {key: sys.intern(value) for key, value in _LABEL.findall(sample[2])}
                if sample[1] not in gauges:
                    gauges[sample[1]] = Gauge(sample[1], help_text, tuple(labels), registry=registry)
                gauges[sample[1]].labels(*labels.values()).set(float(sample[3]))
    start_http_server(int(sys.argv[2]), "127.0.0.1", registry)
    threading.Event().wait()


if __name__ == "__main__":
    main()
