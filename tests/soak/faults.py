"""What can go wrong with a tenant's answers: every kind of fault that the simulated tenant can do, by name.

The rule: no fault gives an answer that is well-formed and untrue, so that what is polled well is the truth.
"""

import gzip
import time
from collections.abc import Callable
from email.utils import formatdate

from exporter.simulator.tenant import Drop, Fault

_BOMB = gzip.compress(bytes(32 << 20))
_HUGE = b'{"reply": "' + b"x" * (2 << 20) + b'"}'

Make = Callable[[float], Fault]
"""Make a fault, for an exporter whose timeout is that many seconds."""


def _status(status: int, **headers: str) -> Make:
    return lambda _: Fault(status=status, headers={n.replace("_", "-"): value for n, value in headers.items()})


def _body(body: bytes, status: int = 200) -> Make:
    return lambda _: Fault(status=status, body=body)


def _drop(drop: Drop) -> Make:
    return lambda _: Fault(drop=drop)


def _throttled_until(_: float) -> Fault:
    return Fault(status=429, headers={"Retry-After": formatdate(time.time() + 2, usegmt=True)})


FAULTS: dict[str, Make] = {
    **{f"status {code}": _status(code) for code in (400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 504)},
    "redirect": _status(302, Location="/elsewhere"),
    "status 429, a second": _status(429, Retry_After="1"),
    "status 429, a date": _throttled_until,
    "status 429, nonsense": _status(429, Retry_After="soon"),
    "status 500, throttled": _body(b'{"reply": {"err_code": 500, "err_msg": "Too many requests"}}', 500),
    "status 503, a page": _body(b"<html><body>Bad gateway</body></html>", 503),
    "error within 200": _body(b'{"reply": {"err_code": 500, "err_msg": "Internal error", "err_extra": null}}'),
    "forbidden within 200": _body(b'{"reply": {"error_message": "You do not have the permission"}}'),
    "unknown within 200": _body(b'{"reply": {"error_message": "No such action"}}'),
    "body empty": _body(b""),
    "body cut": _body(b'{"reply": {"general_status": "IN_PRO'),
    "body no JSON": _body(b"\xff\xfe\x00login page"),
    "body nested": _body(b"[" * 100_000),
    "body huge": _body(_HUGE),
    "body a bomb": lambda _: Fault(body=_BOMB, headers={"Content-Encoding": "gzip"}),
    "body no gzip": lambda _: Fault(body=b"plain", headers={"Content-Encoding": "gzip"}),
    "counts of a wrong type": _body(b'{"reply": {"general_status": "PENDING", "endpoints_pending": [1]}}'),
    "counts that are no numbers": _body(b'{"reply": {"general_status": "PENDING", "endpoints_failed": NaN}}'),
    "status of a wrong type": _body(b'{"reply": {"general_status": {"a": 1}, "endpoints_pending": 3}}'),
    **{f"drop {drop}": _drop(drop) for drop in Drop},
    "drip from head": lambda _: Fault(drip_bytes_per_second=20, drip_from="head"),
    "drip from body": lambda _: Fault(drip_bytes_per_second=20),
    "hang": lambda _: Fault(hang=True),
    "slow": lambda timeout: Fault(delay_seconds=timeout / 4),
    "too slow": lambda timeout: Fault(delay_seconds=timeout * 2),
}
