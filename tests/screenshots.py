"""Takes the pictures of the status page that the documentation shows, of the demo half way through."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import ViewportSize
from support import ExporterProcess, wait_until
from support_browser import chromium, visit

_SHARE_DONE = 0.4  # By then endpoints have failed and timed out, and some actions are done.
_LONGEST_SECONDS = 300.0
_PICTURES: dict[str, dict[str, Any]] = {
    "status-page-desktop.png": {
        "viewport": ViewportSize(width=1280, height=860),
        "color_scheme": "light",
    },
    "status-page-phone.png": {
        "viewport": ViewportSize(width=390, height=844),
        "color_scheme": "dark",
        "device_scale_factor": 2,
    },
}


def share_done(demo: ExporterProcess) -> float:
    """Return which share of all endpoints has finished, as the exporter knows it."""
    totals = demo.get("/api/v1/actions").json()["totals"]
    return totals["share_done"] or 0.0


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        demo = ExporterProcess(["--demo", "--web.listen-address=127.0.0.1:0"], Path(temporary) / "demo")
        try:
            wait_until(lambda: share_done(demo) >= _SHARE_DONE, "half way", timeout=_LONGEST_SECONDS)
            with chromium() as browser:
                for name, look in _PICTURES.items():
                    with visit(browser, f"{demo.url}/?group=campaign", **look) as visiting:
                        visiting.page.screenshot(path=folder / name)
        finally:
            demo.clean_up()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
