"""The fault campaign: run the exporter against tenants that misbehave by a plan, and judge what comes of it.

The rule: whatever is wrong is noted and the run goes on, so that one run shows all there is; only an exporter
that has ended by itself ends the run. ``python -m soak.campaign --seed=N`` repeats one.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import requests
from soak import readings, verdict
from soak.lives import Lives
from soak.plan import CHANGES, RESTARTS, Size, Step, draw
from soak.readings import Holdings
from soak.steps import Stage, perform
from soak.tenants import tenants_process
from soak.world import KEY_MARK, World

_FAMILY = "cortex_xdr_script_execution"
_GRACE_SECONDS = 15.0
_SHOWN = 5
_TAIL = 4000


def long_size(minutes: float) -> Size:
    """Return the size of a whole campaign: every action is polled a dozen times."""
    return Size(
        tenants=20,
        actions=5000,
        seconds=60 * minutes,
        shares=(0.3, 0.35, 0.35),
        requests_per_second=10,
        timeout_seconds=1.5,
        interval_seconds=60,
        settled_interval_seconds=60,
        stale_after_seconds=120,
        auto_reload="1s",
        check_seconds=10,
        quiet_seconds=40,
        converge_seconds=300,
        more_resident=0.1,
        more_handles=10,
    )


class Campaign:
    """One run. ``problems`` is what was found wrong, ``figures`` what is worth a line in the end."""

    def __init__(
        self,
        seed: int,
        size: Size,
        folder: Path,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._seed = seed
        self._size = size
        self._folder = folder
        self._say = say
        self._happened: Counter[str] = Counter()
        self._resident: list[float] = []
        self.problems: list[str] = []
        self.figures: dict[str, str] = {}

    def run(self) -> None:
        """Run the plan's parts, and wait after each until everything is as it should be."""
        with ExitStack() as stack:
            process = stack.enter_context(tenants_process())
            world = World(self._folder, self._seed, self._size, process)
            arguments = [
                f"--config.file={world.configuration_path}",
                f"--config.auto-reload-interval={self._size.auto_reload}",
                "--web.enable-lifecycle",
            ]
            lives = Lives(arguments, self._folder)
            stack.callback(lives.clean_up)
            self._stage = Stage(world, lives, self._size)
            lives.start()
            self._converge("the first pass")
            held: list[Holdings] = []
            for number, steps in enumerate(draw(self._seed, self._size), 1):
                self._follow(steps)
                self._converge(f"part {number}")
                held.append(self._rest(held[-1] if number > 2 else None))
            self._judge(*held[-2:])

    def _follow(self, steps: Sequence[Step]) -> None:
        """Begin and end steps at their times, or as soon after as those before allow, and look in between."""
        stacks = {step: ExitStack() for step in steps}
        events = sorted(
            [(step.start, 0, number, step) for number, step in enumerate(steps)]
            + [(step.start + step.seconds, 1, number, step) for number, step in enumerate(steps)],
            key=lambda event: event[:3],
        )
        began = time.monotonic()
        looks_at = began + self._size.check_seconds
        for at, ends, _, step in events:
            while (now := time.monotonic()) < began + at:
                if now >= looks_at:
                    self._noting("while faults last", self._look)
                    looks_at = now + self._size.check_seconds
                time.sleep(max(0.0, min(looks_at, began + at) - time.monotonic()))
            self._happened[step.kind] += not ends
            if ends:
                self._noting(f"{step.kind} ends", stacks[step].close)
            else:
                self._noting(f"{step.kind} begins", partial(self._begin, stacks[step], step))
            self._require_life()

    def _require_life(self) -> None:
        if not self._stage.lives.alive:
            raise RuntimeError(f"the exporter has ended by itself:\n{self._stage.lives.current.log[-_TAIL:]}")

    def _begin(self, stack: ExitStack, step: Step) -> None:
        stack.enter_context(perform(self._stage, step))

    def _noting(self, when: str, act: Callable[[], object]) -> None:
        try:
            act()
        except (AssertionError, ValueError, requests.RequestException) as error:
            self._problem(f"{when}: {error}")

    def _problem(self, text: str) -> None:
        self.problems.append(text)
        self._say(f"WRONG: {text}")

    def _look(self) -> None:
        """Scrape and check what holds at any moment."""
        text, samples = self._stage.lives.scrape()
        assert KEY_MARK not in text, "a key is in /metrics"
        seen = readings.family(samples, f"{_FAMILY}_labels", "tenant", "action_id")
        wrong = self._stage.world.wrongly_tracked(
            {(tenant, action_id) for tenant, action_id in seen}, grace_seconds=_GRACE_SECONDS
        )
        assert not wrong, f"{len(wrong)} actions: {'; '.join(wrong[:_SHOWN])}"
        self._resident.append(readings.holdings(self._stage.lives.pid).resident_megabytes)

    def _converge(self, what: str) -> None:
        """Wait until ``/metrics`` says what the tenants hold, and nothing else."""
        began = time.monotonic()
        while wrong := verdict.differences(self._stage.world.expected(), self._stage.lives.scrape()[1]):
            if time.monotonic() > began + self._size.converge_seconds:
                limit = f"{self._size.converge_seconds:g} s"
                self._problem(f"{len(wrong)} wrong {limit} after {what}: {'; '.join(wrong[:_SHOWN])}")
                break
            time.sleep(self._size.check_seconds / 4)
            self._require_life()
        seconds = time.monotonic() - began
        self._noting(f"after {what}", self._look)
        self.figures[f"until all is true after {what}"] = f"{seconds:.1f} s"
        self._say(f"{'not all' if wrong else 'all'} is true {seconds:.1f} s after {what}")

    def _rest(self, before: Holdings | None) -> Holdings:
        """Wait until idle workers have left, and return what the process holds, once it is little enough."""
        time.sleep(self._size.quiet_seconds)
        deadline = time.monotonic() + self._size.quiet_seconds
        while True:
            now = readings.holdings(self._stage.lives.pid)
            if before is None or not verdict.grown(before, now, self._size) or time.monotonic() > deadline:
                return now
            time.sleep(1)

    def _judge(self, before: Holdings, after: Holdings) -> None:
        """Check what can only be told in the end, and collect the figures."""
        stage, size = self._stage, self._size
        code = stage.lives.end(signal.SIGTERM)
        if code != 0:
            self._problem(f"it ended with {code} when it was asked to")
        for problem in (*verdict.grown(before, after, size), *verdict.in_log(log := stage.lives.log)):
            self._problem(problem)
        statuses: Counter[int] = Counter()
        most = 0
        for tenant in stage.world.tenants:
            in_a_second, at, of_tenant = tenant.simulated.counted()
            most = max(most, in_a_second)
            statuses += of_tenant
            if in_a_second > size.limit + 1:
                when = stage.lives.when(at)
                self._problem(f"{tenant.name}: {in_a_second} requests in one second, of {size.limit}, {when}")
        if KEY_MARK.encode() in stage.world.state_bytes():
            self._problem("a key is in the state file")
        steps = self._happened
        self.figures |= {
            "requests": f"{sum(statuses.values()):,}",
            "answered with": ", ".join(f"{n} {code or 'nothing'}" for code, n in sorted(statuses.items())),
            "most requests in a second": f"{most} (limit {size.limit})",
            "faults": f"{sum(steps.values()) - sum(steps[kind] for kind in (*CHANGES, *RESTARTS))}",
            "reloads and changed files": f"{sum(steps[kind] for kind in CHANGES)}",
            "restarts": f"{len(stage.lives) - 1}",
            "memory": f"{before.resident_megabytes:.1f} MB, then {after.resident_megabytes:.1f} MB, "
            f"at most {max(self._resident):.1f} MB",
            **{
                name: f"{getattr(before, name)}, then {getattr(after, name)}"
                for name in ("threads", "handles", "connections")
            },
            "CPU time": f"{stage.lives.cpu_seconds:.1f} s",
            "scrapes": f"{len(stage.lives.scrapes)}, the slowest {max(stage.lives.scrapes):.2f} s",
            "log": f"{len(log.splitlines()):,} lines",
        }
        for kind, count in sorted(steps.items()):
            self.figures[f"  {kind}"] = str(count)


def main() -> int:
    """Run a campaign, print its figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run; else drawn")
    parser.add_argument(
        "--minutes", type=float, default=10, help="how long there are faults; the calm comes on top"
    )
    parser.add_argument(
        "--folder", type=Path, help="an empty one, to keep logs and files in; else a temporary one"
    )
    options = parser.parse_args()
    size = long_size(options.minutes)
    _print(f"seed {options.seed}: {size.tenants} tenants, {size.actions:,} actions, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(options.seed, size, options.folder or Path(folder), say=_print)
        campaign.run()
    width = max(map(len, campaign.figures))
    for name, figure in campaign.figures.items():
        _print(f"{name:{width}}  {figure}")
    _print(f"{len(campaign.problems)} problems; --seed={options.seed} repeats this run")
    return 1 if campaign.problems else 0


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the figures are what this is for


if __name__ == "__main__":
    sys.exit(main())
