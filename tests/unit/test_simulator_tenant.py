"""The simulated tenant's answers, without a socket."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clock import Clock

from exporter.simulator.lives import Counts, Fixed, Rollout, Snapshot
from exporter.simulator.tenant import PATH, Drop, Fault, Reply, Request, SimulatedTenant

KEY = "a-key-of-the-tests"
NOW = 1_700_000_000.0
COUNTS = Counts(pending=1, in_progress=2, failed=3, completed_successfully=4)
STATUS = {
    "general_status": "IN_PROGRESS",
    "endpoints_pending": 1,
    "endpoints_canceled": 0,
    "endpoints_in_progress": 2,
    "endpoints_timeout": 0,
    "endpoints_failed": 3,
    "endpoints_completed_successfully": 4,
    "endpoints_pending_abort": 0,
    "endpoints_aborted": 0,
    "endpoints_expired": 0,
    "error_message": "",
}
UNAUTHORIZED = {"err_code": 401, "err_msg": "Public API request unauthorized", "err_extra": None}


class Client:
    """A tenant with one action in fixed counts, and the requests that a client makes of it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.wall_clock = Clock(NOW)
        options = dict[str, Any](key_id=7, key=KEY, requests_per_second=1000) | options
        self.tenant = SimulatedTenant(**options, clock=self.clock, wall_clock=self.wall_clock)
        self.tenant.add(325, Fixed("IN_PROGRESS", COUNTS))
        self.signed = 0

    def sign(self, **changes: str) -> dict[str, str]:
        """Sign with a nonce of its own; changes are made before the signature."""
        self.signed += 1
        parts = {
            "key": KEY,
            "nonce": f"{self.signed:064d}",
            "timestamp": str(int(self.wall_clock.now * 1000)),
        } | changes
        signature = hashlib.sha256("".join(parts.values()).encode()).hexdigest()
        return {
            "x-xdr-auth-id": "7",
            "x-xdr-nonce": parts["nonce"],
            "x-xdr-timestamp": parts["timestamp"],
            "authorization": signature,
        }

    def ask(
        self,
        action_id: str = "325",
        *,
        method: str = "POST",
        path: str = PATH,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Ask for an action's status, signed and shaped as it should be, except for what is given."""
        if body is None:
            body = json.dumps({"request_data": {"action_id": action_id}}).encode()
        return self.tenant.answer(method, path, self.sign() if headers is None else headers, body)


def content(reply: Reply) -> tuple[int, Any]:
    """Unwrap an answer."""
    return reply.status, json.loads(reply.body)["reply"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_answer_gives_the_status_of_an_action(path: str) -> None:
    """A signed request for a known action gets its general status and nine counts."""
    reply = Client().ask(path=path)
    assert content(reply) == (200, STATUS)
    assert reply.headers == {"Content-Type": "application/json"}
    assert reply.fault is None


def test_answer_says_that_an_action_does_not_exist() -> None:
    """An unknown action is no HTTP error, but a 200 with an error message."""
    assert content(Client().ask("326")) == (200, {"error_message": "Action 326 does not exist"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("PUT", PATH),
        ("POST", "/"),
        ("POST", f"{PATH}//"),
        ("POST", f"/{PATH}"),
        ("POST", f"/public_api/v1{PATH}"),
        ("POST", PATH.upper()),
    ],
)
def test_answer_knows_one_path_and_method(method: str, path: str) -> None:
    """Anything but a POST to the one path is not found."""
    expected = {"err_code": 404, "err_msg": "Not Found", "err_extra": None}
    assert content(Client().ask(method=method, path=path)) == (404, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"x-xdr-auth-id": "8"},
        {"x-xdr-auth-id": "07"},
        {"x-xdr-nonce": "1" * 64},
        {"x-xdr-timestamp": str(int(NOW * 1000) + 1)},
        {"authorization": KEY},
        {"authorization": "0" * 64},
        {"authorization": ""},
    ],
)
def test_answer_refuses_what_the_signature_does_not_cover(changes: dict[str, str]) -> None:
    """A header changed after signing makes a request unauthorized."""
    client = Client()
    assert content(client.ask(headers=client.sign() | changes)) == (401, UNAUTHORIZED)


@pytest.mark.parametrize("name", ["x-xdr-auth-id", "x-xdr-nonce", "x-xdr-timestamp", "authorization"])
def test_answer_refuses_a_request_without_one_of_its_headers(name: str) -> None:
    """Each of the four headers is needed."""
    client = Client()
    headers = client.sign()
    del headers[name]
    assert content(client.ask(headers=headers)) == (401, UNAUTHORIZED)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": f"{KEY}\n"},
        {"nonce": "1" * 63},
        {"nonce": "1" * 65},
        {"nonce": "-" * 64},
        {"nonce": "é" * 64},
        {"timestamp": str(int(NOW))},
        {"timestamp": f"{NOW * 1000:.1f}"},
        {"timestamp": "soon"},
        {"timestamp": "²"},
        {"timestamp": ""},
        {"timestamp": "9" * 5000},
    ],
)
def test_answer_refuses_a_signature_of_the_wrong_parts(changes: dict[str, str]) -> None:
    """A nonce is 64 letters and digits, a timestamp milliseconds, and the key exactly the key."""
    client = Client()
    assert content(client.ask(headers=client.sign(**changes))) == (401, UNAUTHORIZED)


@pytest.mark.parametrize(("skew", "status"), [(-300, 200), (300, 200), (-300.001, 401), (300.001, 401)])
def test_answer_bears_a_skew_up_to_its_bound(skew: float, status: int) -> None:
    """A client's clock may be off by 300 s in either direction, and no more."""
    client = Client()
    timestamp = str(round((NOW + skew) * 1000))
    assert client.ask(headers=client.sign(timestamp=timestamp)).status == status


def test_answer_refuses_a_nonce_used_twice() -> None:
    """A replayed signature is unauthorized, and so is a new one with an old nonce."""
    client = Client()
    headers = client.sign(nonce="n" * 64)
    assert client.ask(headers=headers).status == 200
    assert client.ask(headers=headers).status == 401
    client.wall_clock.advance(1)
    assert client.ask(headers=client.sign(nonce="n" * 64)).status == 401


def test_answer_does_not_use_up_the_nonce_of_a_wrong_signature() -> None:
    """Only a request that is authorized uses a nonce up."""
    client = Client()
    headers = client.sign()
    assert client.ask(headers=headers | {"authorization": "0" * 64}).status == 401
    assert client.ask(headers=headers).status == 200


def test_answer_remembers_a_nonce_while_its_timestamp_is_good() -> None:
    """A request signed ahead of time cannot be replayed while it would pass, and is forgotten after."""
    client = Client()
    headers = client.sign(timestamp=str(int((NOW + 300) * 1000)))
    assert client.ask(headers=headers).status == 200
    client.wall_clock.advance(600)
    assert client.ask(headers=headers).status == 401
    client.wall_clock.advance(1)
    client.ask()
    assert list(client.tenant._nonces) == [f"{client.signed:064d}"]


def test_answer_refuses_a_replay_of_a_throttled_request() -> None:
    """A retry has to be signed anew, though the first attempt was only throttled."""
    client = Client(requests_per_second=1)
    client.ask()
    headers = client.sign()
    assert client.ask(headers=headers).status == 429
    client.clock.advance(1)
    assert client.ask(headers=headers).status == 401


def test_answer_takes_a_standard_key_as_it_is() -> None:
    """A standard key is its own authorization, as often as one likes, and an advanced signature is not."""
    client = Client(key_type="standard")
    headers = {"x-xdr-auth-id": "7", "authorization": KEY}
    assert [client.ask(headers=headers).status for _ in range(2)] == [200, 200]
    assert content(client.ask(headers=headers | {"authorization": f"{KEY} "})) == (401, UNAUTHORIZED)
    assert content(client.ask(headers={"authorization": KEY})) == (401, UNAUTHORIZED)
    assert content(client.ask()) == (401, UNAUTHORIZED)


def test_key_can_be_rotated() -> None:
    """Once the key is assigned anew, the old one is refused."""
    client = Client()
    client.tenant.key = "another"
    assert client.ask().status == 401
    assert client.ask(headers=client.sign(key="another")).status == 200


def test_key_is_in_no_repr() -> None:
    """A tenant's repr does not show its key."""
    assert KEY not in repr(Client().tenant)


def test_answer_throttles_above_the_limit() -> None:
    """The request above the limit is told so in the envelope."""
    client = Client(requests_per_second=2)
    expected = {"err_code": 429, "err_msg": "Too many requests", "err_extra": None}
    assert [client.ask().status for _ in range(2)] == [200, 200]
    assert content(client.ask()) == (429, expected)


@given(limit=st.integers(1, 5), gaps=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), max_size=40))
@settings(deadline=None)
def test_answer_counts_every_request_of_the_last_second(limit: int, gaps: list[float]) -> None:
    """A request is refused if, and only if, the second before it held the limit, refused ones included."""
    client = Client(requests_per_second=limit)
    statuses: list[int] = []
    arrivals: list[float] = []
    expected: list[int] = []
    for gap in gaps:
        client.clock.advance(gap)
        recent = sum(client.clock.now - arrival < 1 for arrival in arrivals)
        expected.append(429 if recent >= limit else 200)
        arrivals.append(client.clock.now)
        statuses.append(client.ask().status)
    assert statuses == expected


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"request_data": '])
def test_answer_refuses_invalid_json(body: bytes) -> None:
    """A body that is no JSON is a 400."""
    expected = {"err_code": 400, "err_msg": "Bad Request", "err_extra": "The body is not valid JSON"}
    assert content(Client().ask(body=body)) == (400, expected)


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        "325",
        {},
        {"request_data": None},
        {"request_data": {}},
        {"request_data": {"action_id": 325}},
        {"request_data": {"action_id": ["325"]}},
        {"request_data": {"action_id": "325", "more": 1}},
        {"request_data": {"action_id": "325"}, "more": 1},
        {"action_id": "325"},
    ],
)
def test_answer_refuses_another_shape(body: object) -> None:
    """JSON of any other shape than the documented one is a business error; an ID is a text."""
    expected = {
        "err_code": 500,
        "err_msg": "Internal Server Error",
        "err_extra": "The body must be request_data with action_id, a text, and nothing else",
    }
    assert content(Client().ask(body=json.dumps(body).encode())) == (500, expected)


@given(
    body=st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None)
def test_answer_withstands_any_body(body: bytes) -> None:
    """Whatever the body, there is an answer."""
    assert Client().ask(body=body).status in {400, 500}


def test_add_replaces_an_action_at_run_time() -> None:
    """Adding the same ID again replaces the action's life."""
    client = Client()
    client.tenant.add("325", Fixed("FAILED", Counts(failed=9)))
    assert client.tenant.snapshot(325) == Snapshot("FAILED", Counts(failed=9))
    assert content(client.ask())[1]["endpoints_failed"] == 9


def test_remove_makes_an_action_unknown() -> None:
    """A removed action does not exist, and cannot be removed again."""
    client = Client()
    client.tenant.remove(325)
    assert content(client.ask()) == (200, {"error_message": "Action 325 does not exist"})
    with pytest.raises(KeyError):
        client.tenant.remove(325)
    with pytest.raises(KeyError):
        client.tenant.counts(325)


def test_actions_are_listed_in_their_order() -> None:
    """The lives held are listed by ID, as texts."""
    client = Client()
    life = Fixed("PENDING", Counts(pending=1))
    client.tenant.add(22519813685366, life)
    assert client.tenant.actions == {"325": Fixed("IN_PROGRESS", COUNTS), "22519813685366": life}


def test_actions_age_at_the_tenants_speed() -> None:
    """An action that was 10 s old when added is 130 s old after 2 s at a speed of 60."""
    client = Client(speed=60)
    client.tenant.add(1, Rollout("", [[(130, "in_progress")]]), age_seconds=10)
    client.clock.advance(1.999)
    assert client.tenant.counts(1) == Counts(pending=1)
    client.clock.advance(0.001)
    assert client.tenant.counts(1) == Counts(in_progress=1)
    assert content(client.ask("1"))[1]["endpoints_in_progress"] == 1


def test_actions_stand_still_at_speed_zero() -> None:
    """At a speed of 0 an action stays as old as it was when added."""
    client = Client(speed=0)
    client.tenant.add(1, Rollout("", [[(5, "in_progress"), (6, "failed")]]), age_seconds=5)
    client.clock.advance(1e6)
    assert client.tenant.snapshot(1) == Snapshot("IN_PROGRESS", Counts(in_progress=1))


def test_requests_are_recorded() -> None:
    """Each is remembered with its arrival, what it asked for, the status of its answer, and when it was signed."""
    client = Client(requests_per_second=2)
    client.ask()
    client.clock.advance(0.5)
    client.ask("9", headers={})
    client.ask()
    client.ask(path="/")
    client.clock.advance(1)
    client.wall_clock.advance(1)
    client.ask(body=b"")
    assert client.tenant.requests == [
        Request(0.0, "325", 200, NOW),
        Request(0.5, "9", 401, None),
        Request(0.5, "325", 429, NOW),
        Request(0.5, None, 404, NOW),
        Request(1.5, None, 400, NOW + 1),
    ]


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(drop=Drop.CLOSE), Fault(drop=Drop.RESET)])
def test_requests_without_an_answer_are_recorded_with_status_zero(fault: Fault) -> None:
    """What gets no answer has no status."""
    client = Client()
    client.tenant.inject(fault)
    client.ask()
    assert client.tenant.requests == [Request(0.0, "325", 0, NOW)]


def test_inject_replaces_the_answer() -> None:
    """A fault's status, headers and body replace the answer's; header names know no case."""
    client = Client()
    fault = Fault(
        status=302, headers={"location": "http://127.0.0.1:1/", "content-type": "text/html"}, body=b"<p>"
    )
    client.tenant.inject(fault, 325)
    expected = {"Content-Type": "text/html", "Location": "http://127.0.0.1:1/"}
    assert client.ask() == Reply(302, b"<p>", expected, fault)
    assert client.tenant.requests == [Request(0.0, "325", 302, NOW)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "Public API request unauthorized"),
        (402, "Payment Required"),
        (429, "Too many requests"),
        (503, "Service Unavailable"),
        (599, "Unknown"),
    ],
)
def test_inject_wraps_a_bare_status_in_the_envelope(status: int, message: str) -> None:
    """A fault with a status and no body comes with the vendor's envelope."""
    client = Client()
    client.tenant.inject(Fault(status=status))
    assert content(client.ask()) == (status, {"err_code": status, "err_msg": message, "err_extra": None})


def test_inject_keeps_what_the_fault_leaves_out() -> None:
    """A fault of delivery alone delivers the true answer; one of the body alone keeps the status."""
    client = Client()
    slow = Fault(delay_seconds=1)
    client.tenant.inject(slow)
    reply = client.ask()
    assert (content(reply), reply.fault) == ((200, STATUS), slow)
    client.tenant.inject(Fault(body=b"NaN"))
    reply = client.ask()
    assert (reply.status, reply.body) == (200, b"NaN")


def test_inject_can_be_limited_in_times() -> None:
    """A fault for two answers is gone with the third, and one for ever stays until cleared."""
    client = Client()
    client.tenant.inject(Fault(status=500, times=2), 325)
    assert [client.ask().status for _ in range(3)] == [500, 500, 200]
    client.tenant.inject(Fault(status=500), 325)
    assert [client.ask().status for _ in range(3)] == [500, 500, 500]
    client.tenant.clear(325)
    assert client.ask().status == 200


def test_inject_for_an_action_leaves_the_others_alone() -> None:
    """An action's fault touches neither other actions nor refusals; the tenant's comes first and touches all."""
    client = Client()
    client.tenant.add(1, Fixed("PENDING", COUNTS))
    client.tenant.inject(Fault(status=500), 325)
    assert [client.ask("1").status, client.ask().status, client.ask(headers={}).status] == [200, 500, 401]
    client.tenant.inject(Fault(status=503))
    assert [client.ask("1").status, client.ask().status, client.ask(headers={}).status] == [503, 503, 503]
    assert client.ask(path="/").status == 503
    client.tenant.clear()
    assert client.ask().status == 200


def test_clear_needs_no_fault() -> None:
    """Clearing where there is nothing to clear is no error."""
    client = Client()
    client.tenant.clear(325)
    client.tenant.clear()
    assert client.ask().status == 200


def test_faults_do_not_save_nonces() -> None:
    """A request that met a fault has used its nonce up, and its place under the limit."""
    client = Client(requests_per_second=2)
    client.tenant.inject(Fault(status=503, times=1))
    headers = client.sign()
    assert [client.ask(headers=headers).status, client.ask(headers=headers).status] == [503, 401]
    assert client.ask().status == 429
