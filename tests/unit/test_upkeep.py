"""Reloads that are asked for, files that are watched: when a file is loaded again, and the thread that does it."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

import pytest
import structlog
from structlog.testing import LogCapture
from support import TIMEOUT_SECONDS, wait_until
from support_clock import Clock

from exporter.upkeep import FileWatch, Upkeep

INTERVAL = 30.0


class Watched:
    """A watch over a file that a test changes; what it tells is acted upon as the exporter does."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.clock = Clock(1_000.0)
        self.file = "first"
        self.looks = 0
        self.usable = True
        self.watch = FileWatch("first", interval=interval, now=self.clock.now)

    def loads(self, seconds: int) -> list[float]:
        """Look once a second for so long, and return when the file was loaded."""
        begin, loads = self.clock.now, []
        for _ in range(seconds):
            self.clock.advance(1)
            if self.watch.look(self._look, self.clock.now):
                loads.append(self.clock.now - begin)
                self.watch.loaded(self.file, refused=not self.usable)
        return loads

    def _look(self) -> str:
        self.looks += 1
        return self.file


def test_file_that_does_not_change_is_looked_at_once_per_interval() -> None:
    """Nobody looks more often than asked for, and nothing is loaded."""
    watched = Watched()
    assert (watched.loads(300), watched.looks) == ([], 10)


def test_changed_file_is_loaded_when_it_has_come_to_rest() -> None:
    """A change is seen at the next look, and taken up a second later if it looks alike; then it is as ever."""
    watched = Watched()
    watched.loads(10)
    watched.file = "second"
    assert watched.loads(90) == [21]
    assert watched.looks == 4


def test_file_that_is_still_written_is_loaded_later() -> None:
    """While it looks different each second it is waited for, however long."""
    watched = Watched()
    watched.loads(29)
    for number in range(5):
        watched.file = f"part {number}"
        assert watched.loads(1) == []
    assert watched.loads(1) == [1]


def test_change_that_is_taken_back_is_none() -> None:
    """A file that looks as before when it has come to rest is not loaded."""
    watched = Watched()
    watched.loads(29)
    watched.file = "second"
    assert watched.loads(1) == []
    watched.file = "first"
    assert watched.loads(100) == []


def test_refused_file_is_tried_at_each_look() -> None:
    """What it lacked may be there by then; once it is of use it is left alone."""
    watched = Watched()
    watched.file = "broken"
    watched.usable = False
    assert watched.loads(150) == [31, 60, 90, 120, 150]
    watched.usable = True
    assert watched.loads(150) == [30]


def test_refused_file_that_changes_is_loaded_when_it_has_come_to_rest() -> None:
    """It is not loaded half because it was broken before."""
    watched = Watched()
    watched.watch.loaded("first", refused=True)
    watched.file = "mended"
    assert watched.loads(60) == [31]


def test_file_that_was_loaded_on_request_is_not_loaded_again() -> None:
    """A reload by signal takes the change from the watch, also one that was about to be taken up."""
    watched = Watched()
    watched.loads(29)
    watched.file = "second"
    assert watched.loads(1) == []
    watched.watch.loaded("second", refused=False)
    assert watched.loads(100) == []


def test_interval_of_zero_never_looks() -> None:
    """Without an interval a file changes as it likes, also after a refusal."""
    watched = Watched(interval=0)
    watched.file = "second"
    assert (watched.loads(1_000), watched.looks) == ([], 0)
    watched.watch.loaded("second", refused=True)
    watched.file = "third"
    assert (watched.loads(1_000), watched.looks) == ([], 0)


# The thread.


class Bench:
    """Things to look after, which note what is done with them."""

    def __init__(self) -> None:
        self.reloads = 0
        self.ticks = 0
        self.file: object = "first"
        self.problems: list[str] = []
        self.problems_of_others: list[str] = []
        self.failure: Exception | None = None
        self.look_failure: Exception | None = None
        self.looks_failure: Exception | None = None
        self.entered = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.capture = LogCapture()
        self._log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )

    def upkeep(self, *, interval: float = 0.01) -> Upkeep:
        """Make an upkeep of it."""
        return Upkeep(
            reload=self._reload,
            reload_others=lambda: self.problems_of_others,
            look=self._look,
            fingerprint=self._looks,
            seen=self.file,
            interval=interval,
            look_seconds=0.01,
            log=self._log,
            jitter=float,
        )

    @contextmanager
    def running(self, *, interval: float = 0.01) -> Iterator[Upkeep]:
        """Have it looked after for a while."""
        upkeep = self.upkeep(interval=interval)
        upkeep.start()
        try:
            yield upkeep
        finally:
            self.may_go_on.set()
            upkeep.stop()
            wait_until(lambda: not upkeep._thread.is_alive(), "the thread has ended")

    @property
    def lines(self) -> list[tuple[str, str | None]]:
        """What the log says: event, and problem or error."""
        return [(entry["event"], entry.get("problem") or entry.get("error")) for entry in self.capture.entries]

    def ticks_on(self) -> None:
        """Wait until it has been looked after twice more."""
        before = self.ticks
        wait_until(lambda: self.ticks >= before + 2, "things are looked at")

    def _reload(self) -> list[str]:
        self.entered.set()
        assert self.may_go_on.wait(TIMEOUT_SECONDS)
        self.reloads += 1
        if self.failure is not None:
            raise self.failure
        return self.problems

    def _look(self) -> None:
        self.ticks += 1
        if self.look_failure is not None:
            raise self.look_failure

    def _looks(self) -> object:
        if self.looks_failure is not None:
            raise self.looks_failure
        return self.file


REFUSED = "configuration not reloaded"


def test_reload_tells_whether_it_was_of_use() -> None:
    """Whoever asks for a reload gets what is wrong, or nothing; what is wrong is in the log each time."""
    bench = Bench()
    with bench.running() as upkeep:
        assert upkeep.reload().result(TIMEOUT_SECONDS) == []
        bench.problems = ["a: b", "c: d"]
        assert [upkeep.reload().result(TIMEOUT_SECONDS) for _ in range(2)] == [["a: b", "c: d"]] * 2
    told = [line for line in bench.lines if line[0] == REFUSED]
    assert told[:4] == [(REFUSED, "a: b"), (REFUSED, "c: d")] * 2
    assert bench.lines == told


def test_what_is_read_beside_the_configuration_is_part_of_a_reload_that_is_asked_for() -> None:
    """What is wrong there is told to whoever asks; it gives no reason to try the configuration again."""
    bench = Bench()
    bench.problems_of_others = ["web: b"]
    with bench.running() as upkeep:
        assert upkeep.reload().result(TIMEOUT_SECONDS) == ["web: b"]
        bench.problems = ["a: b"]
        assert upkeep.reload().result(TIMEOUT_SECONDS) == ["a: b", "web: b"]
        bench.problems = []
        assert upkeep.reload().result(TIMEOUT_SECONDS) == ["web: b"]
        bench.ticks_on()
        after = bench.reloads
        bench.ticks_on()
        assert bench.reloads == after


def test_signal_reloads() -> None:
    """A reload that nobody waits for happens as well."""
    bench = Bench()
    with bench.running(interval=0) as upkeep:
        upkeep.reload_soon()
        wait_until(lambda: bench.reloads == 1, "the configuration is reloaded")


def test_reloads_that_wait_are_one() -> None:
    """All who ask while a reload is under way get the answer of one that begins after it."""
    bench = Bench()
    bench.may_go_on.clear()
    with bench.running(interval=0) as upkeep:
        first = upkeep.reload()
        assert bench.entered.wait(TIMEOUT_SECONDS)
        bench.problems = ["of the second"]
        later = [upkeep.reload() for _ in range(5)]
        upkeep.reload_soon()
        bench.may_go_on.set()
        assert first.result(TIMEOUT_SECONDS) == ["of the second"]
        assert [answer.result(TIMEOUT_SECONDS) for answer in later] == [["of the second"]] * 5
    assert bench.reloads == 2


def test_changed_file_is_reloaded() -> None:
    """A change comes in by itself, once."""
    bench = Bench()
    with bench.running():
        bench.ticks_on()
        assert bench.reloads == 0
        bench.file = "second"
        wait_until(lambda: bench.reloads, "the configuration is reloaded")
        bench.ticks_on()
    assert (bench.reloads, bench.lines) == (1, [])


def test_refused_file_is_told_once_and_tried_until_it_is_of_use() -> None:
    """What is wrong with it is told again only when it is something else, or somebody asks."""
    bench = Bench()
    bench.problems = ["a: b"]
    with bench.running() as upkeep:
        bench.file = "second"
        wait_until(lambda: bench.reloads >= 3, "the configuration is tried again")
        assert bench.lines == [(REFUSED, "a: b")]
        bench.problems = ["c: d"]
        wait_until(lambda: len(bench.lines) == 2, "the other problem is told")
        assert upkeep.reload().result(TIMEOUT_SECONDS) == ["c: d"]
        bench.problems = []
        before = bench.reloads
        wait_until(lambda: bench.reloads > before, "the configuration is tried again")
        bench.ticks_on()
        after = bench.reloads
        bench.ticks_on()
        assert bench.reloads == after
    assert bench.lines == [(REFUSED, "a: b"), (REFUSED, "c: d"), (REFUSED, "c: d")]


def test_file_is_never_looked_at_without_an_interval() -> None:
    """Other things are looked after all the same."""
    bench = Bench()
    with bench.running(interval=0):
        bench.file = "second"
        bench.ticks_on()
    assert bench.reloads == 0


def test_defect_in_a_reload_is_told_without_its_text_and_survived() -> None:
    """What a library quotes stays out of the log and of the answer, and the next reload is another matter."""
    bench = Bench()
    bench.failure = RuntimeError("a secret")
    with bench.running(interval=0) as upkeep:
        problem = "a defect of this exporter, see its log"
        assert upkeep.reload().result(TIMEOUT_SECONDS) == [problem]
        bench.failure = None
        assert upkeep.reload().result(TIMEOUT_SECONDS) == []
    assert bench.lines == [("defect in a reload", "RuntimeError"), (REFUSED, problem)]
    assert "a secret" not in str(bench.capture.entries)


def test_defect_in_a_look_is_told_and_survived() -> None:
    """Whatever is met in looking at files, looking goes on."""
    bench = Bench()
    bench.look_failure = RuntimeError("a secret")
    with bench.running() as upkeep:
        bench.ticks_on()
        bench.look_failure = None
        bench.file = "second"
        wait_until(lambda: bench.reloads, "the configuration is reloaded")
        assert upkeep.reload().result(TIMEOUT_SECONDS) == []
    assert set(bench.lines) == {("defect in looking at files", "RuntimeError")}
    assert "a secret" not in str(bench.capture.entries)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_in_looking_at_the_configuration_is_survived() -> None:
    """A reload that is asked for while the file cannot even be looked at has an answer, and so has the next."""
    bench = Bench()
    with bench.running(interval=0) as upkeep:
        bench.looks_failure = RuntimeError("a secret")
        answer = upkeep.reload()
        wait_until(lambda: answer.done() or not upkeep._thread.is_alive(), "the reload has ended")
        assert upkeep._thread.is_alive()
        assert answer.result(TIMEOUT_SECONDS)
        bench.looks_failure = None
        assert upkeep.reload().result(TIMEOUT_SECONDS) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whoever_gives_up_waiting_for_a_reload_harms_nobody() -> None:
    """A request that is cancelled cancels its future; the thread and the others who wait go on."""
    bench = Bench()
    bench.may_go_on.clear()
    with bench.running(interval=0) as upkeep:
        given_up = upkeep.reload()
        assert bench.entered.wait(TIMEOUT_SECONDS)
        given_up.cancel()
        bench.may_go_on.set()
        wait_until(lambda: given_up.done() or not upkeep._thread.is_alive(), "the reload has ended")
        answer = upkeep.reload()
        wait_until(lambda: answer.done() or not upkeep._thread.is_alive(), "the next reload has ended")
        assert upkeep._thread.is_alive()
        assert answer.result(TIMEOUT_SECONDS) == []
        if given_up.cancelled():
            with pytest.raises(CancelledError):
                given_up.result()


def test_files_are_looked_at_however_many_reloads_are_asked_for() -> None:
    """One reload after the other does not keep the thread from everything else."""
    bench = Bench()
    with bench.running(interval=0) as upkeep:
        looks = bench.ticks

        def looked() -> bool:
            assert upkeep.reload().result(TIMEOUT_SECONDS) == []
            return bench.ticks > looks + 1

        wait_until(looked, "two looks")


def test_stop_answers_whoever_waits() -> None:
    """Whoever waits is sent away, and a reload that was asked for and not begun does not happen."""
    bench = Bench()
    bench.may_go_on.clear()
    with bench.running(interval=0) as upkeep:
        first = upkeep.reload()
        assert bench.entered.wait(TIMEOUT_SECONDS)
        second = upkeep.reload()
        upkeep.stop()
        sent_away = [answer.result(TIMEOUT_SECONDS) for answer in (first, second, upkeep.reload())]
        assert sent_away == [["the exporter is stopping"]] * 3
        upkeep.join()  # It gives up waiting for the reload that is stuck.
        bench.may_go_on.set()
    assert bench.reloads == 1


@pytest.mark.parametrize("ask", [Upkeep.reload_soon, Upkeep.reload], ids=["signal", "request"])
def test_order_before_the_start_is_carried_out_after_it(ask: Callable[[Upkeep], object]) -> None:
    """A signal that comes early is not lost."""
    bench = Bench()
    upkeep = bench.upkeep(interval=0)
    ask(upkeep)
    upkeep.start()
    wait_until(lambda: bench.reloads == 1, "the configuration is reloaded")
    upkeep.stop()
