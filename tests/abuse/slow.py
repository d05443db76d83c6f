"""Abuse by clients that take their time: they send slowly, not at all, read slowly, or never shake hands.

Each function is a case: it runs an exporter in the folder, abuses it, and notes what was measured.
"""

from functools import partial
from pathlib import Path

from abuse.clients import METRICS, Behaviour, drip, read_slowly, say, stay_silent
from abuse.crowd import Clients
from abuse.scale import Scale
from abuse.stage import Setup, exporter
from abuse.trial import (
    LARGE_SCRAPE_SECONDS,
    MORE_BYTES,
    SMALL_SCRAPE_SECONDS,
    Trial,
    attempt,
    judge,
    judge_cut,
    judge_let_go,
    judge_refused,
)
from abuse.verdict import Findings

_HEAD_SECONDS = 6.0
_IDLE_SECONDS = 61.0
_READ_SECONDS = 31.0
_CROWDED_READ_SECONDS = 40.0  # So many at once have their answers begun one after the other.
_CONNECTION_BYTES = 128 * 1024
_TLS_BYTES = 20 << 20  # OpenSSL takes some 100 KB for a connection.
_GRACE_SECONDS = 5.0
_LARGE_EVERY_SECONDS = 1.0
_FEW_EVERY_SECONDS = 0.5
_SILENT = "idle from the start"
_ASKED = "idle after a request"
_HELLO = bytes.fromhex("16030100c8010000c40303")
_HANDLES_CPU_SHARE = 0.1


def drip_requests(folder: Path, scale: Scale, findings: Findings) -> None:
    """Send a request's head byte by byte."""
    bound = _HEAD_SECONDS * scale.patience
    for count in scale.dripping:
        findings.begin(f"{count:,} clients that send 1 byte/s")
        with exporter(folder / f"dripping-{count}", Setup()) as subject:
            clients = Clients(kind="1 byte/s", behaviour=drip, count=count, limit_seconds=bound + _GRACE_SECONDS)
            trial = attempt(subject, [clients])
        judge_cut(findings, trial, "1 byte/s", bound)
        judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)


def stay_idle(folder: Path, scale: Scale, findings: Findings) -> None:
    """Connect and say nothing, or nothing more after a request."""
    bound = _idle_bound(scale)
    for count in scale.idle:
        findings.begin(f"{count:,} idle connections")
        with exporter(folder / f"idle-{count}", Setup()) as subject:
            trial = attempt(subject, _idle_clients(count, bound))
        for kind in (_SILENT, _ASKED):
            judge_cut(findings, trial, kind, bound)
        judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)


def _idle_bound(scale: Scale) -> float:
    return _IDLE_SECONDS + _HEAD_SECONDS * (scale.patience - 1)


def _idle_clients(count: int, bound: float) -> list[Clients]:
    limit = bound + _GRACE_SECONDS
    return [
        Clients(kind=kind, behaviour=behaviour, count=count // 2, limit_seconds=limit)
        for kind, behaviour in ((_SILENT, stay_silent), (_ASKED, partial(stay_silent, after_request=True)))
    ]


def read_large_answers_slowly(folder: Path, scale: Scale, findings: Findings) -> None:
    """Take an answer of 10 MB at a few KB/s: as it is, compressed, over TLS, and many at once."""
    few, *many = scale.slow_readers
    with exporter(folder / "readers", Setup(large=True)) as subject:
        for count in (few, *many):
            for encoding in ("identity", "gzip"):
                findings.begin(f"{count} slow readers of 10 MB, {encoding}")
                trial = attempt(
                    subject,
                    [_reading_clients(encoding, count, scale)],
                    every_seconds=_LARGE_EVERY_SECONDS,
                    accept_encoding=encoding,
                )
                _judge_readers(findings, trial, scale, encoding)
                if count == few:
                    judge(findings, trial, scale, scrape_seconds=LARGE_SCRAPE_SECONDS)
                else:  # Nobody is locked out, and a connection costs no more than a slice or two.
                    late = scale.scrape_timeout_seconds
                    judge(findings, trial, scale, scrape_seconds=late, more_bytes=count * _CONNECTION_BYTES)
    findings.begin(f"{few} slow readers of 10 MB, over TLS")
    with exporter(folder / "readers-tls", Setup(large=True, tls=True)) as subject:
        readers = _reading_clients("identity", few, scale)
        trial = attempt(subject, [readers], every_seconds=_LARGE_EVERY_SECONDS, accept_encoding="identity")
    _judge_readers(findings, trial, scale, "identity")
    judge(findings, trial, scale, scrape_seconds=LARGE_SCRAPE_SECONDS, more_bytes=_TLS_BYTES)


def _judge_readers(findings: Findings, trial: Trial, scale: Scale, kind: str) -> None:
    """Note when they were cut: what the kernel has taken may go on to a reader whom the exporter has let go."""
    crowded = len(trial.outcomes(kind)) > scale.slow_readers[0]
    bound = _CROWDED_READ_SECONDS if crowded else _READ_SECONDS
    judge_let_go(findings, trial, bound * scale.patience)
    judge_cut(findings, trial, kind, bound * scale.patience)


def _reading_clients(encoding: str, count: int, scale: Scale) -> Clients:
    return Clients(
        kind=encoding,
        behaviour=partial(read_slowly, accept_encoding=encoding),
        count=count,
        limit_seconds=_CROWDED_READ_SECONDS * scale.patience + _GRACE_SECONDS,
    )


def wait_in_all_ways(folder: Path, scale: Scale, findings: Findings) -> None:
    """Be idle and read slowly at once, before the same exporter: for those who cannot wait for each by itself."""
    idle, readers = scale.idle[0], scale.slow_readers[0]
    findings.begin(f"{idle} idle connections and {2 * readers} slow readers of 10 MB")
    with exporter(folder / "all-ways", Setup(large=True)) as subject:
        clients = [
            *_idle_clients(idle, _idle_bound(scale)),
            *(_reading_clients(encoding, readers, scale) for encoding in ("identity", "gzip")),
        ]
        trial = attempt(subject, clients, every_seconds=_LARGE_EVERY_SECONDS)
    for kind in (_SILENT, _ASKED):
        judge_cut(findings, trial, kind, _idle_bound(scale))
    for kind in ("identity", "gzip"):
        judge_cut(findings, trial, kind, _READ_SECONDS * scale.patience)
    judge(findings, trial, scale, scrape_seconds=LARGE_SCRAPE_SECONDS)


def leave_handshakes_open(folder: Path, scale: Scale, findings: Findings) -> None:
    """Begin no TLS handshake, or begin one and say no more, or speak plain HTTP."""
    bound = _HEAD_SECONDS * scale.patience
    limit = bound + _GRACE_SECONDS
    with exporter(folder / "handshakes", Setup(tls=True)) as subject:
        script = [subject.target.request(METRICS)]
        kinds: dict[str, Behaviour] = {
            "silent": stay_silent,
            "begun": partial(stay_silent, opening=_HELLO),
            "plain HTTP": partial(say, script=script, plain=True, listen_seconds=limit),
        }
        for number, count in enumerate(scale.handshakes):
            again = count in scale.handshakes[:number]
            findings.begin(
                f"{count} each of TLS handshakes silent, begun, and plain HTTP for TLS{', again' if again else ''}"
            )
            trial = attempt(
                subject,
                [
                    Clients(kind=kind, behaviour=behaviour, count=count, limit_seconds=limit)
                    for kind, behaviour in kinds.items()
                ],
            )
            for kind in kinds:
                judge_cut(findings, trial, kind, bound)
            judge_refused(findings, trial, ["plain HTTP"])
            more = MORE_BYTES if again else _TLS_BYTES
            judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS, more_bytes=more)


def take_all_handles(folder: Path, scale: Scale, findings: Findings) -> None:
    """Open more connections than the process may have files."""
    findings.begin(f"{scale.connections} connections to {scale.handles} file handles")
    with exporter(folder / "handles", Setup(handles=scale.handles)) as subject:
        clients = Clients(
            kind=_SILENT, behaviour=stay_silent, count=scale.connections, limit_seconds=10 * scale.hold_seconds
        )
        trial = attempt(subject, [clients], every_seconds=_FEW_EVERY_SECONDS, hold_seconds=scale.hold_seconds)
    cut = sum(one.lasted_seconds is not None for one in trial.outcomes(_SILENT))
    findings.note("cut while they wait", f"{cut} of {scale.connections}")
    judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS, cpu_share=_HANDLES_CPU_SHARE)
