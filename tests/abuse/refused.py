"""Abuse by requests that are not to be answered: malformed, too large, or with another one hidden in them.

Each function is a case: it runs an exporter in the folder, abuses it, and notes what was measured.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from abuse.clients import Repeated, say
from abuse.crowd import Clients
from abuse.malformed import ELSEWHERE, FOLLOWED, MALFORMED, SMUGGLING, UNUSUAL, Request
from abuse.scale import Scale
from abuse.stage import Setup, exporter
from abuse.trial import SMALL_SCRAPE_SECONDS, Trial, attempt, joined, judge, judge_cut, judge_refused
from abuse.verdict import Findings, megabytes

_CLOSED_SECONDS = 6.0
_GRACE_SECONDS = 3.0
_ANSWER_SECONDS = 3.0
_PIPELINED = 16_000
_BLOCK = bytes(1 << 16)
_BLOCKS = 960
_LETTERS = b"x" * (1 << 16)
_HEAD = b"%s HTTP/1.1\r\nHost: exporter\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_UNIMPLEMENTED = {501, 505}


def send_malformed_requests(folder: Path, scale: Scale, findings: Findings) -> None:
    """Send each malformed request over a connection of its own, and unusual ones beside them."""
    bound = _CLOSED_SECONDS * scale.patience
    findings.begin(
        f"{len(MALFORMED)} malformed requests, and {len(SMUGGLING) + len(FOLLOWED)} with another behind"
    )
    with exporter(folder / "malformed", Setup()) as subject:
        clients = [
            Clients(
                kind=request.name,
                behaviour=partial(
                    say,
                    script=[request.content],
                    listen_seconds=bound + _GRACE_SECONDS if request.closes else _ANSWER_SECONDS,
                ),
                count=1,
                limit_seconds=2 * bound,
            )
            for request in [*MALFORMED, *SMUGGLING, *FOLLOWED, *ELSEWHERE, *UNUSUAL]
        ]
        trial = attempt(subject, clients)
    judge_refused(findings, trial, [request.name for request in MALFORMED], "malformed: not accepted")
    judge_refused(findings, trial, [request.name for request in SMUGGLING], "smuggled: not accepted")
    judge_refused(findings, trial, [request.name for request in ELSEWHERE], "not there: not accepted")
    wrong = [
        f"{request.name}: {_statuses(trial, request)}"
        for request in FOLLOWED
        if [status // 100 for status in trial.outcomes(request.name)[0].answers.elements()] != [2]
    ]
    findings.require("pipelined: one answer", wrong, len(FOLLOWED))
    _judge_closed(findings, trial, [*MALFORMED, *SMUGGLING, *FOLLOWED], bound)
    failing = [
        f"{request.name}: {status}"
        for request in UNUSUAL
        for status in trial.outcomes(request.name)[0].answers
        if status >= 500 and status not in _UNIMPLEMENTED
    ]
    findings.require("unusual: no failure", failing, len(UNUSUAL), "all: no 5xx but 501, 505")
    for request in UNUSUAL:
        findings.note(f"  {request.name}", _statuses(trial, request), request.clause)
    judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)


def _judge_closed(findings: Findings, trial: Trial, requests: Sequence[Request], bound_seconds: float) -> None:
    wrong = []
    asked = [request for request in requests if request.closes]
    for request in asked:
        lasted = trial.outcomes(request.name)[0].lasted_seconds
        if lasted is None or lasted > bound_seconds:
            wrong.append(f"{request.name}: {'stayed' if lasted is None else f'{lasted:.1f} s'}")
    findings.require("closed where framing is unsure", wrong, len(asked), f"all within {bound_seconds:g} s")


def _statuses(trial: Trial, request: Request) -> str:
    answers = trial.outcomes(request.name)[0].answers
    return ", ".join(str(status) for status in answers.elements()) or "no answer"


def send_too_much(folder: Path, scale: Scale, findings: Findings) -> None:
    """Send what is too large, or without an end: one kind after the other, or all at once where time is short."""
    bound = _CLOSED_SECONDS * scale.patience
    limit = bound + _GRACE_SECONDS
    findings.begin(f"{len(_TOO_MUCH)} requests that are too large, each by {scale.bodies} clients at once")
    clients = [
        Clients(
            kind=name,
            behaviour=partial(say, script=script, listen_seconds=limit),
            count=scale.bodies,
            limit_seconds=2 * limit,
        )
        for name, script in _TOO_MUCH.items()
    ]
    with exporter(folder / "too-much", Setup()) as subject:
        if scale.timed:
            trial = joined([attempt(subject, [kind]) for kind in clients])
        else:
            trial = attempt(subject, clients)
    for name in _TOO_MUCH:
        if name != _IN_ONE:
            judge_refused(findings, trial, [name], name)
    answered = [one.answers.total() for one in trial.outcomes(_IN_ONE)]
    more = [f"{count} answers" for count in answered if count > 1]
    findings.require(f"{_IN_ONE}: one answer", more, len(answered))
    for name in _TOO_MUCH:
        sent = max(one.sent for one in trial.outcomes(name))
        judge_cut(findings, trial, name, bound, f"{megabytes(sent)} taken of one client")
    judge(findings, trial, scale, scrape_seconds=SMALL_SCRAPE_SECONDS)


def _get(*rest: bytes | Repeated) -> list[bytes | Repeated]:
    return [_HEAD % b"GET /metrics", *rest]


def _post(*rest: bytes | Repeated) -> list[bytes | Repeated]:
    return [_HEAD % b"POST /metrics", *rest]


_IN_ONE = f"{_PIPELINED:,} pipelined requests"
_LENGTH = b"Content-Length: %d\r\n"
_END = b"\r\n"
_SIZED = _LENGTH % (len(_BLOCK) * _BLOCKS)
_TOO_MUCH: dict[str, list[bytes | Repeated]] = {
    "a header of 1 MB": _get(b"X-Large: ", Repeated(_LETTERS, 16), _END, _END),
    "a header without end": _get(b"X-Large: ", Repeated(_LETTERS)),
    "a header name without end": _get(Repeated(_LETTERS)),
    "20,000 headers": _get(Repeated(b"X-Name: x\r\n" * 4000, 5), _END),
    "a URL of 1 MB": [b"GET /metrics?", Repeated(_LETTERS, 16), b" HTTP/1.1\r\nHost: exporter\r\n\r\n"],
    "a method without end": [Repeated(_LETTERS)],
    "empty lines without end": [Repeated(b"\r\n" * 32_768)],
    "a GET with a body of 60 MB": _get(_SIZED, _END, Repeated(_BLOCK, _BLOCKS)),
    "a POST with a body of 60 MB": _post(_SIZED, _END, Repeated(_BLOCK, _BLOCKS)),
    "a Content-Length of 10^12": _post(_LENGTH % 10**12, _END, Repeated(_BLOCK)),
    "Expect and a body of 60 MB": _post(_SIZED, b"Expect: 100-continue\r\n", _END, Repeated(_BLOCK, _BLOCKS)),
    "a chunked body without end": _post(_CHUNKED, Repeated(b"10000\r\n" + _BLOCK + _END)),
    "a chunk extension without end": _post(_CHUNKED, b"1;", Repeated(_LETTERS)),
    "trailers without end": _post(_CHUNKED, b"0\r\n", Repeated(b"X-Name: x\r\n" * 4096)),
    _IN_ONE: [b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\n\r\n" * _PIPELINED],
}
