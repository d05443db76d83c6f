"""Run the exporter beside a thread at full CPU: ``busy.py python -m exporter FLAGS``."""

import sys
import threading

from exporter import cli


def _spin() -> None:
    while True:
        sum(range(1000))


if __name__ == "__main__":
    threading.Thread(target=_spin, daemon=True).start()
    sys.exit(cli.main(sys.argv[4:]))
