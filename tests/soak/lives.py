"""The exporter under test: one process after the other, with the same files.

The rule: what is said of a life that has ended was read before or after its end, never guessed.
"""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import requests
from soak.readings import Samples, cpu_seconds, parse
from support import ExporterProcess

_EFFECT_SECONDS = 30.0
_RELOADED = ("cortex_xdr_exporter_config_last_reload_successful", frozenset[tuple[str, str]]())


class Lives:
    """The lives of the exporter; :meth:`start` begins one. ``scrapes`` holds the seconds that each scrape took."""

    current: ExporterProcess

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._arguments = [*arguments, "--web.listen-address=127.0.0.1:0"]
        self._folder = folder
        self._lives: list[ExporterProcess] = []
        self._started_at: list[float] = []
        self._cpu_before = 0.0
        self.scrapes: list[float] = []

    def __len__(self) -> int:
        """Count the lives."""
        return len(self._lives)

    @property
    def log(self) -> str:
        """What all lives have logged."""
        return "".join(life.log for life in self._lives)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all lives, the present one included if it still is."""
        return self._cpu_before + (cpu_seconds(self.pid) if self.alive else 0.0)

    @property
    def pid(self) -> int:
        """The process ID of the present life."""
        return self.current.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.current.process.poll() is None

    def start(self) -> None:
        """Start the exporter, and return once it answers."""
        self._started_at.append(time.monotonic())
        self.current = ExporterProcess(self._arguments, self._folder / f"life-{len(self._lives)}")
        self._lives.append(self.current)

    def end(self, number: signal.Signals) -> int:
        """End the present life by a signal, and return its exit code."""
        self._cpu_before = self.cpu_seconds
        return self.current.stop(number)

    def when(self, at: float) -> str:
        """Say when a time of the monotonic clock was, as a person looks for it in a log."""
        life = sum(started <= at for started in self._started_at) - 1
        moment = datetime.fromtimestamp(time.time() - time.monotonic() + at, UTC)
        return f"{at - self._started_at[life]:.1f} s into life {life}, from {moment:%H:%M:%S.%f}"

    def clean_up(self) -> None:
        """End what still runs."""
        for life in self._lives:
            life.clean_up()

    def scrape(self) -> tuple[str, Samples]:
        """Scrape, and return the text and what is in it; AssertionError unless it is a good answer."""
        before = time.monotonic()
        answer = self.current.get("/metrics")
        self.scrapes.append(time.monotonic() - before)
        assert answer.status_code == 200, f"/metrics answered {answer.status_code}"
        answer.encoding = "utf-8"
        text = answer.text
        return text, parse(text)

    def reload(self, way: str) -> int | None:
        """Have the configuration read anew: by ``SIGHUP``, by ``POST``, or by waiting for its ``file`` to be seen.

        Only the POST waits, and returns the status of its answer.
        """
        if way == "SIGHUP":
            self.current.process.send_signal(signal.SIGHUP)
        elif way == "POST":
            answer = requests.post(f"{self.current.url}/-/reload", timeout=_EFFECT_SECONDS)
            return answer.status_code
        return None

    def wait_for_reload(self, *, successful: bool) -> None:
        """Wait until the last reload is said to have succeeded or failed; AssertionError if that never comes."""
        self.wait_for(
            lambda samples: samples.get(_RELOADED) == successful,
            f"a reload that {'succeeds' if successful else 'fails'}",
        )

    def wait_for(self, condition: Callable[[Samples], bool], what: str) -> None:
        """Wait until the samples are as they should be; AssertionError if that never comes."""
        deadline = time.monotonic() + _EFFECT_SECONDS
        while not condition(self.scrape()[1]):
            assert time.monotonic() < deadline, f"not within {_EFFECT_SECONDS:g} s: {what}"
            time.sleep(0.1)
