"""One abuse: what the exporter holds before, what is seen beside it, and what is left of it afterwards.

The rule: before and after are measured alike, and a quiet scrape's own needs are no harm that an abuse did.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from abuse.clients import Outcome
from abuse.crowd import Clients, Crowd, Ended
from abuse.scale import Scale
from abuse.stage import Held, Subject
from abuse.verdict import (
    Findings,
    kilobytes,
    kinds_in_a_minute,
    megabytes,
    milliseconds,
    number,
    percent,
    seconds,
)
from abuse.watch import Scrape, Seen, Watch, forget_peak, peak_bytes

SMALL_SCRAPE_SECONDS = 0.1
LARGE_SCRAPE_SECONDS = 0.5
"""Of 10 MB."""
MORE_BYTES = 10 << 20
"""What any abuse may cost."""

_QUIET_SCRAPES = 2
_LOG_BYTES = 100_000
_LEFT_BYTES = 8 << 20
_LEFT_SHARE = 0.1
_LEFT_HANDLES = 2
_BACK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of an abuse."""

    before: Held
    quiet_peak_bytes: int
    """The most that quiet scrapes alone made the process hold."""
    seen: Seen
    after: Held
    ended: Ended
    begun: float
    """When all clients had begun, by the monotonic clock."""
    last: Scrape
    logged: str
    log: str
    """All that the process has logged since it was ready."""

    def outcomes(self, kind: str) -> list[Outcome]:
        """Return what became of the clients of a kind."""
        return self.ended.outcomes[kind]


def attempt(
    subject: Subject,
    clients: Sequence[Clients],
    *,
    every_seconds: float = 0.1,
    hold_seconds: float | None = None,
    accept_encoding: str = "gzip",
) -> Trial:
    """Let clients loose on the exporter, and scrape it beside them.

    They stay as long as they like, or until all are there and ``hold_seconds`` are over.
    """
    for _ in range(_QUIET_SCRAPES):
        subject.scrape("gzip")
        subject.scrape("identity")
    forget_peak(subject.pid)
    for _ in range(_QUIET_SCRAPES):
        subject.scrape(accept_encoding)
    quiet_peak, before, logged = peak_bytes(subject.pid), subject.held(), len(subject.log)
    with (
        Watch(subject.pid, lambda: subject.scrape(accept_encoding), every_seconds=every_seconds) as watch,
        Crowd(subject.target, clients) as crowd,
    ):
        crowd.wait()
        begun = time.monotonic()
        if hold_seconds is None:
            ended = crowd.end()
        else:
            time.sleep(hold_seconds)
            ended = crowd.stop()
    last = subject.scrape(accept_encoding)
    deadline = time.monotonic() + _BACK_SECONDS
    while _left(before, after := subject.held()) and time.monotonic() < deadline:
        pass
    return Trial(before, quiet_peak, watch.seen, after, ended, begun, last, subject.log[logged:], subject.log)


def joined(trials: Sequence[Trial]) -> Trial:
    """Return abuses of one process that followed each other as one."""
    first, last = trials[0], trials[-1]
    lasted = sum(trial.seen.seconds for trial in trials)
    seen = Seen(
        scrapes=[one for trial in trials for one in trial.seen.scrapes],
        seconds=lasted,
        cpu_share=sum(trial.seen.cpu_share * trial.seen.seconds for trial in trials) / lasted,
        peak_bytes=max(trial.seen.peak_bytes for trial in trials),
        handles=[counted for trial in trials for counted in trial.seen.handles],
    )
    outcomes = {kind: clients for trial in trials for kind, clients in trial.ended.outcomes.items()}
    return replace(
        last,
        before=first.before,
        quiet_peak_bytes=first.quiet_peak_bytes,
        seen=seen,
        ended=Ended(outcomes, max(trial.ended.cpu_share for trial in trials)),
        logged="".join(trial.logged for trial in trials),
    )


def _left(before: Held, after: Held) -> bool:
    more = after.resident_bytes - before.resident_bytes
    return more > _LEFT_BYTES or after.handles > before.handles + _LEFT_HANDLES


def judge(
    findings: Findings,
    trial: Trial,
    scale: Scale,
    *,
    scrape_seconds: float,
    cpu_share: float | None = None,
    more_bytes: int = MORE_BYTES,
) -> None:
    """Note what is bounded in every case: scrapes beside it, CPU, log, memory and handles.

    Afterwards 8 MB may be left or a tenth of what was held before, and more where ``more_bytes`` is above the
    usual: the allocator keeps what many connections at once have taken.
    """
    scrapes = [*trial.seen.scrapes, trial.last]
    late = scale.scrape_timeout_seconds
    failed = [
        f"{one.problem or 'too late'} after {one.seconds:.1f} s"
        for one in scrapes
        if one.problem or one.seconds > late
    ]
    findings.require("scrapes answered", failed, len(scrapes), f"all within {late:g} s")
    times = sorted(one.seconds for one in trial.seen.scrapes)
    most = times[len(times) - 1 - len(times) // 100]
    detail = f"median {milliseconds(_median(times))}, slowest {milliseconds(times[-1])}"
    bound = scale.scrape_bound(scrape_seconds)
    findings.at_most("99 of 100 scrapes within", most, bound, milliseconds, detail)
    beside = f"beside {percent(trial.ended.cpu_share)} of the clients"
    if cpu_share is None:
        findings.note("CPU", percent(trial.seen.cpu_share), beside)
    else:
        findings.at_most("CPU", trial.seen.cpu_share, cpu_share * scale.patience, percent, beside)
    lines = trial.logged.splitlines()
    findings.at_most("log", len(trial.logged.encode()), _LOG_BYTES, kilobytes, f"{len(lines):,} lines")
    kinds = kinds_in_a_minute(trial.log)
    wrong = [kind for kind, times in kinds.items() if times > 1 or "Traceback" in kind or "defect" in kind]
    findings.require("kinds of lines, one a minute of each", wrong, len(kinds))
    rest = trial.before.resident_bytes
    more = trial.seen.peak_bytes - trial.quiet_peak_bytes
    beside = f"above {megabytes(trial.quiet_peak_bytes)}, which quiet scrapes need"
    findings.at_most("more memory at most", more, more_bytes, megabytes, beside)
    left = trial.after.resident_bytes - rest
    may_be_left = max(_LEFT_BYTES, _LEFT_SHARE * rest) if more_bytes == MORE_BYTES else more_bytes
    findings.at_most("more memory afterwards", left, may_be_left, megabytes, f"above {megabytes(rest)} at rest")
    handles = f"above {trial.before.handles}; {trial.seen.peak_handles} at most"
    left = trial.after.handles - trial.before.handles
    findings.at_most("more handles afterwards", left, _LEFT_HANDLES, number, handles)


def judge_cut(findings: Findings, trial: Trial, kind: str, bound_seconds: float, detail: str = "") -> None:
    """Note whether all clients of a kind were cut, and when the last one was."""
    outcomes = trial.outcomes(kind)
    lasted = [one.lasted_seconds for one in outcomes if one.lasted_seconds is not None]
    refused = sum(not one.connected for one in outcomes)
    median = f"median {seconds(_median(lasted))}, {refused} never connected" if lasted else "none was cut"
    if len(lasted) < len(outcomes):
        stayed = len(outcomes) - len(lasted)
        findings.require(
            f"{kind}: cut", [f"{stayed:,} stayed", *[""] * (stayed - 1)], len(outcomes), detail=median
        )
    else:
        what = f"{kind}: all {len(outcomes):,} cut after"
        findings.at_most(what, max(lasted), bound_seconds, seconds, f"{median}. {detail}")


def judge_let_go(findings: Findings, trial: Trial, bound_seconds: float) -> None:
    """Note when the exporter held no more of the clients' connections, whatever they had still to read."""
    few = trial.before.handles + _LEFT_HANDLES
    last = max((at for at, count in trial.seen.handles if count > few), default=trial.begun)
    findings.at_most("let go by the exporter after", last - trial.begun, bound_seconds, seconds)


def judge_refused(findings: Findings, trial: Trial, kinds: Sequence[str], what: str = "not accepted") -> None:
    """Note which kinds of clients had an answer that is no refusal, of those that send raw bytes."""
    accepted = []
    answers: Counter[int] = Counter()
    for kind in kinds:
        statuses = Counter(status for one in trial.outcomes(kind) for status in one.answers.elements())
        answers += statuses
        if any(status // 100 == 2 for status in statuses):
            accepted.append(f"{kind}: {_counted(statuses)}")
    findings.require(what, accepted, len(kinds), "all: no 2xx", _counted(answers) or "no answer")


def _counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
