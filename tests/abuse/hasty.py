"""Abuse by clients that ask for much, come and go, or guess passwords, and what is asked of a stop beside clients.

Each function is a case: it runs an exporter in the folder, abuses it, and notes what was measured.
"""

import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

from abuse.clients import (
    HEALTHY,
    METRICS,
    Behaviour,
    close_one_half,
    come_and_go,
    guess_passwords,
    keep_asking,
    leave_midway,
    read_steadily,
    stay_silent,
)
from abuse.crowd import Clients, Crowd
from abuse.scale import Scale
from abuse.stage import USER, Setup, exporter
from abuse.trial import LARGE_SCRAPE_SECONDS, SMALL_SCRAPE_SECONDS, Trial, attempt, judge, judge_cut
from abuse.verdict import Findings, seconds

_TRANSFER_SECONDS = 3.0
_STOP_SECONDS = 5.0
_LONGEST_SECONDS = 300.0
_ASKING_SECONDS = 60.0
_LARGE_EVERY_SECONDS = 0.5
_VISITORS = 20
_CLOSED_SECONDS = 6.0
_IDLE_BESIDE = 50


def stop_beside_clients(folder: Path, scale: Scale, findings: Findings) -> None:
    """Ask the exporter to stop while one client takes an answer, and others are idle."""
    findings.begin(
        f"SIGTERM during a transfer of {_TRANSFER_SECONDS:g} s, {2 * _IDLE_BESIDE} idle clients beside it"
    )
    with exporter(folder / "stop", Setup(large=True)) as subject:
        size = subject.scrape("identity").size
        kinds: dict[str, Behaviour] = {
            "idle from the start": stay_silent,
            "idle after a request": partial(stay_silent, after_request=True),
        }
        clients = [
            Clients(kind=kind, behaviour=behaviour, count=_IDLE_BESIDE, limit_seconds=_LONGEST_SECONDS)
            for kind, behaviour in kinds.items()
        ]
        steady = partial(read_steadily, seconds=_TRANSFER_SECONDS)
        clients.append(Clients(kind="transfer", behaviour=steady, count=1, limit_seconds=_LONGEST_SECONDS))
        with Crowd(subject.target, clients) as crowd:
            crowd.wait()
            began = time.monotonic()
            code = subject.process.stop(signal.SIGTERM)
            took = time.monotonic() - began
            outcomes = crowd.end().outcomes
        log = subject.log
    (transfer,) = outcomes["transfer"]
    cut = [] if transfer.answers[200] == 1 else [f"{transfer.received:,} of {size:,} bytes"]
    findings.require("transfer completed", cut, 1)
    findings.at_most("exit after", took, _STOP_SECONDS * scale.patience, seconds)
    findings.require("exit code 0", [str(code)] if code else [], 1)
    stayed = [kind for kind in kinds for one in outcomes[kind] if one.lasted_seconds is None]
    findings.require("idle clients cut", stayed, 2 * _IDLE_BESIDE)
    lines = log.splitlines()
    findings.require("lines with no traceback", [line for line in lines if "Traceback" in line], len(lines))


def scrape_beside_a_busy_thread(folder: Path, scale: Scale, findings: Findings) -> None:
    """Scrape 10 MB while another thread of the process takes all the CPU that it gets."""
    with exporter(folder / "busy", Setup(large=True, busy=True)) as subject:
        one = Clients(kind="idle", behaviour=stay_silent, count=1, limit_seconds=_LONGEST_SECONDS)
        # To compress 10 MB of chance takes a quarter of a second, and twice that beside another thread.
        for encoding, scrape_seconds in (("identity", LARGE_SCRAPE_SECONDS), ("gzip", 2 * LARGE_SCRAPE_SECONDS)):
            findings.begin(f"a thread at full CPU beside a scrape of 10 MB, {encoding}")
            trial = attempt(
                subject,
                [one],
                every_seconds=_LARGE_EVERY_SECONDS,
                hold_seconds=scale.hold_seconds,
                accept_encoding=encoding,
            )
            judge(findings, trial, scale, scrape_seconds=scrape_seconds)


def hammer(folder: Path, scale: Scale, findings: Findings) -> None:
    """Ask for the status page or for the metrics without a pause."""
    first, *others = scale.hammers
    with exporter(folder / "hammer", Setup(large=True)) as subject:
        for path in ("/", METRICS):
            for count in (first, *others):
                findings.begin(f"{path} asked for without a pause {count} times at once, beside a scrape of 10 MB")
                clients = Clients(
                    kind=path,
                    behaviour=partial(keep_asking, path=path),
                    count=count,
                    limit_seconds=_LONGEST_SECONDS,
                )
                trial = attempt(
                    subject,
                    [clients],
                    every_seconds=_LARGE_EVERY_SECONDS,
                    hold_seconds=scale.hold_seconds,
                    accept_encoding="identity",
                )
                _note_rate(findings, trial, path)
                bound = LARGE_SCRAPE_SECONDS if count == first else scale.scrape_timeout_seconds
                judge(findings, trial, scale, scrape_seconds=bound)


def _note_rate(findings: Findings, trial: Trial, kind: str) -> None:
    answers = sum(one.answers.total() for one in trial.outcomes(kind))
    findings.note("answers in a second", f"{answers / trial.seen.seconds:.1f}", f"{answers:,} in all")


def guess(folder: Path, scale: Scale, findings: Findings) -> None:
    """Try one password after the other, beside scrapes with the right one."""
    findings.begin(f"{scale.guessers} clients that guess passwords")
    with exporter(folder / "passwords", Setup(password=True)) as subject:
        clients = Clients(
            kind="guess",
            behaviour=partial(guess_passwords, name=USER),
            count=scale.guessers,
            limit_seconds=_LONGEST_SECONDS,
        )
        trial = attempt(subject, [clients], every_seconds=_LARGE_EVERY_SECONDS, hold_seconds=scale.hold_seconds)
    outcomes = trial.outcomes("guess")
    answers = sum((one.answers for one in outcomes), Counter[int]())
    accepted = [f"{count} with {status}" for status, count in answers.items() if status < 400]
    findings.require("statuses that are refusals", accepted, len(answers), detail=str(dict(answers)))
    _note_rate(findings, trial, "guess")
    judge(findings, trial, scale, scrape_seconds=LARGE_SCRAPE_SECONDS)


def use_connections_badly(folder: Path, scale: Scale, findings: Findings) -> None:
    """Ask ten thousand times over one connection, come and go, close one half, and reset while an answer comes."""
    with exporter(folder / "connections", Setup()) as subject:
        findings.begin(f"{scale.requests:,} requests over one connection")
        asking = partial(keep_asking, path=HEALTHY, times=scale.requests)
        one = Clients(kind="asks", behaviour=asking, count=1, limit_seconds=_ASKING_SECONDS)
        trial = attempt(subject, [one])
        (outcome,) = trial.outcomes("asks")
        wrong = [f"{count} with {status}" for status, count in outcome.answers.items() if status != 200]
        unanswered = scale.requests - outcome.answers.total()
        wrong += [f"{unanswered:,} without an answer", *[""] * (unanswered - 1)] if unanswered else []
        findings.require("answered", wrong, scale.requests, detail=f"{outcome.interruptions} times cut between")
        _note_rate(findings, trial, "asks")
        judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)

        findings.begin(f"{scale.visits:,} connections that come and go")
        visiting = partial(come_and_go, times=scale.visits // _VISITORS)
        many = Clients(kind="visits", behaviour=visiting, count=_VISITORS, limit_seconds=_LONGEST_SECONDS)
        trial = attempt(subject, [many])
        judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)

        findings.begin(f"{2 * scale.guessers} clients that close one half")
        bound = _CLOSED_SECONDS * scale.patience
        halves = {
            kind: partial(close_one_half, after_request=asked)
            for kind, asked in (("without a request", False), ("after a request", True))
        }
        trial = attempt(
            subject,
            [
                Clients(kind=kind, behaviour=behaviour, count=scale.guessers, limit_seconds=2 * bound)
                for kind, behaviour in halves.items()
            ],
        )
        for kind in halves:
            judge_cut(findings, trial, kind, bound)
        answered = sum(one.answers[200] for one in trial.outcomes("after a request"))
        findings.note("answered all the same", f"{answered} of {scale.guessers}")
        judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)
    findings.begin(f"{scale.visits // 10} resets while 10 MB are on their way")
    with exporter(folder / "resets", Setup(large=True)) as subject:
        leaving = partial(leave_midway, times=scale.visits // 10 // _VISITORS)
        many = Clients(kind="leaves", behaviour=leaving, count=_VISITORS, limit_seconds=_LONGEST_SECONDS)
        trial = attempt(subject, [many], every_seconds=_LARGE_EVERY_SECONDS)
        judge(findings, trial, scale, scrape_seconds=LARGE_SCRAPE_SECONDS)
