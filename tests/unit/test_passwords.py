"""Passwords against bcrypt hashes: what is right, what it costs, and who waits for whom."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import bcrypt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from support_tls import HASH, PASSWORD

from exporter.errors import BusyError
from exporter.web import passwords
from exporter.web.passwords import Passwords

WAITING = 32
WAITING_OF_CLIENT = 4
BUSY = "too many passwords are waiting to be checked"
STOPPING = "the server is about to stop"


def hashed(password: bytes, *, cost: int = 4) -> str:
    """Return the bcrypt hash of a password, quickly."""
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()


class Checker:
    """bcrypt's check, or one that says yes to the hash ``yes-…``, which counts and can be held up."""

    def __init__(self, check: Callable[[bytes, bytes], bool] = lambda _, stored: stored == b"$2y$04$yes") -> None:
        self.calls: list[tuple[bytes, bytes]] = []
        self.threads: set[str] = set()
        self._check = check
        self._open = threading.Event()
        self._open.set()
        self._begun = threading.Event()

    def __call__(self, password: bytes, stored: bytes) -> bool:
        """Check a password, when it may."""
        self.threads.add(threading.current_thread().name)
        self._begun.set()
        assert self._open.wait(60)
        self.calls.append((password, stored))
        return self._check(password, stored)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no check come to an end meanwhile."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


def users(**stored: str) -> Mapping[str, SecretStr]:
    """Return users with their hashes."""
    return {name: SecretStr(text) for name, text in stored.items()}


def ask(checked: Passwords, *pairs: tuple[str, str]) -> list[bool]:
    """Ask one after the other, and return the answers."""

    async def asking() -> list[bool]:
        return [await checked.permits(*pair) for pair in pairs]

    return asyncio.run(asking())


def join_threads() -> None:
    """Wait until no password is checked any more."""
    for thread in threading.enumerate():
        if thread.name == "passwords":
            thread.join(60)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_right_password_of_a_known_user_is_permitted(prefix: str) -> None:
    """Each of bcrypt's prefixes is the same to us; nothing but the right pair comes in."""
    checked = Passwords(users(alice=prefix + HASH[4:], bob=hashed(b"other")))
    assert ask(
        checked,
        ("alice", PASSWORD),
        ("bob", "other"),
        ("alice", "other"),
        ("bob", PASSWORD),
        ("carol", PASSWORD),
        ("", PASSWORD),
        ("alice", ""),
        ("Alice", PASSWORD),
        ("alice", PASSWORD + " "),
    ) == [True, True, *[False] * 7]


def test_password_may_be_any_text_up_to_bcrypts_limit() -> None:
    """UTF-8 up to 72 bytes counts; a longer one is not cut, and a NUL does not end it."""
    longest = "ä" * 36
    checked = Passwords(users(alice=hashed(longest.encode()), bob=hashed(b""), carol=hashed(b"a")))
    assert ask(
        checked,
        ("alice", longest),
        ("alice", longest + "x"),
        ("bob", ""),
        ("bob", "\0"),
        ("carol", "a\0b"),
        ("alice", "\ud800"),
    ) == [True, False, True, False, False, False]


def test_wrong_passwords_of_all_users_cost_the_same() -> None:
    """A stranger, a password that cannot be, a wrong one: each takes one check at each cost that there is."""
    checker = Checker()
    stored = {"cheap": "$2y$04$no", "dear": "$2y$08$no", "also": "$2b$08$no2", "costly": "$2y$12$yes"}
    checked = Passwords(users(**stored), check=checker)
    for pair in [*((user, "a") for user in [*stored, "nobody"]), ("cheap", "x" * 73), ("dear", "a\0"), ("", "")]:
        checker.calls.clear()
        assert ask(checked, pair) == [False]
        assert sorted(stored[4:6] for _, stored in checker.calls) == [b"04", b"08", b"12"]


def test_right_password_costs_its_own_check() -> None:
    """Whoever knows it is not held up by what others' cost."""
    checker = Checker()
    checked = Passwords(users(cheap="$2y$04$yes", costly="$2y$12$no"), check=checker)
    assert ask(checked, ("cheap", "b")) == [True]
    assert checker.calls == [(b"b", b"$2y$04$yes")]


def test_stranger_with_anothers_password_costs_the_same() -> None:
    """That what it is held against happens to fit makes it no quicker."""
    checker = Checker(lambda *_: True)
    checked = Passwords(users(cheap="$2y$04$x", costly="$2y$12$x"), check=checker)
    assert ask(checked, ("nobody", "a")) == [False]
    assert sorted(stored for _, stored in checker.calls) == [b"$2y$04$x", b"$2y$12$x"]


def test_stranger_is_not_permitted_by_anothers_password() -> None:
    """The hash that a stranger is held against only takes time."""
    assert ask(Passwords(users(alice=HASH)), ("stranger", PASSWORD), ("stranger", PASSWORD)) == [False, False]


def test_answers_are_remembered() -> None:
    """Good and bad ones alike: who asks again is answered without a check."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes", no="$2y$04$no"), check=checker)
    pairs = [("yes", "a"), ("no", "a"), ("stranger", "a"), ("yes", "x" * 73)]
    assert ask(checked, *pairs, *pairs) == [True, False, False, False] * 2
    assert len(checker.calls) == 4


def test_bad_answers_push_no_good_one_out() -> None:
    """However many are guessed, who knows the password stays; of the bad ones the latest are remembered."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes", no="$2y$04$no"), check=checker)
    guesses = [("no", str(number)) for number in range(passwords._MOST_REMEMBERED + 10)]
    ask(checked, ("yes", "a"), *guesses)
    checker.calls.clear()
    ask(checked, ("yes", "a"), *guesses[10:])
    assert checker.calls == []
    ask(checked, guesses[0])
    assert len(checker.calls) == 1
    assert (len(checked._good), len(checked._bad)) == (1, passwords._MOST_REMEMBERED)


def test_no_password_is_kept() -> None:
    """What is remembered is keyed by digests with a key of its own."""
    first, second = Passwords(users(alice=HASH)), Passwords(users(alice=HASH))
    for checked in (first, second):
        ask(checked, ("alice", "s3cr3t-guess"))
    assert [len(digest) for digest in first._bad] == [32]
    assert set(first._bad) != set(second._bad)
    assert "s3cr3t-guess" not in str(vars(first))


@settings(deadline=None)  # A busy machine is no failure.
@given(
    st.lists(st.binary(max_size=6), min_size=2, max_size=3),
    st.lists(st.binary(max_size=6), min_size=2, max_size=3),
)
def test_digest_tells_parts_apart(one: list[bytes], other: list[bytes]) -> None:
    """No two ways to share out the same bytes among name, password and hash are taken for each other."""
    assume(one != other)
    checked = Passwords(users(alice=HASH))
    assert checked._digest(*one) != checked._digest(*other)


def test_poisoned_answer_is_not_found() -> None:
    """What let CVE-2022-46146 happen: a name that ends with what another's password begins with."""
    checked = Passwords(users(ab=HASH, a=hashed(b"b" + PASSWORD.encode())))
    assert ask(checked, ("ab", PASSWORD), ("a", "b" + PASSWORD), ("abs", PASSWORD[1:])) == [True, True, False]


def gather(
    checked: Passwords, asked: list[tuple[str, str, str | None]], release: Callable[[], None]
) -> list[bool | str]:
    """Ask all at once for a user, a password and a client, release what is held, and return the answers."""

    async def asking() -> list[bool | str]:
        tasks = [
            asyncio.ensure_future(checked.permits(user, password, client=client))
            for user, password, client in asked
        ]
        await asyncio.sleep(0)  # Each of them has begun.
        release()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [answer if isinstance(answer, bool) else str(answer) for answer in answers]

    return asyncio.run(asking())


def held(checker: Checker, **stored: str) -> Passwords:
    """Return passwords whose checks come to no end until ``checker._open`` is set."""
    checker._open.clear()
    return Passwords(users(**stored), check=checker)


def test_same_question_is_checked_once() -> None:
    """Whoever asks while it is being checked waits for the same answer, in the one thread."""
    checker = Checker()
    checked = held(checker, yes="$2y$04$yes")
    asked: list[tuple[str, str, str | None]] = [
        ("yes", password, str(number)) for password in "ab" for number in range(WAITING // 2)
    ]
    assert gather(checked, asked, checker._open.set) == [True] * WAITING
    assert checker.calls == [(b"a", b"$2y$04$yes"), (b"b", b"$2y$04$yes")]
    assert checker.threads == {"passwords"}


@pytest.mark.parametrize("client", ["10.0.0.1", None])
def test_client_waits_with_a_few_questions(client: str | None) -> None:
    """However many it asks, different ones or all the same: the others have room, and get their answers."""
    checker = Checker()
    checked = held(checker, yes="$2y$04$yes", no="$2y$04$no")
    for guesses in ([("no", str(number), client) for number in range(100)], [("no", "same", client)] * 540):
        checker._open.clear()
        answers = gather(checked, [*guesses, ("yes", "right", "10.0.0.2")], checker._open.set)
        told = [BUSY] * (len(guesses) - WAITING_OF_CLIENT)
        assert answers == [*[False] * WAITING_OF_CLIENT, *told, True]
    assert (checked._waiting, checked._answers, checked._queues) == ({}, {}, {})


def test_clients_have_their_turns() -> None:
    """Whoever comes after many questions of another client is next, and not the last."""
    checker = Checker()
    checked = held(checker, yes="$2y$04$yes")
    asked = [(f"{client}{number}", client) for client in "abc" for number in range(3)]
    gather(checked, [("yes", password, client) for password, client in asked], checker._open.set)
    order = [password.decode() for password, _ in checker.calls]
    # The thread may have taken the first one before there was another.
    assert order[0] == "a0"
    assert order[1:] in (
        ["b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"],
        ["a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"],
    )


def test_too_many_questions_are_not_asked() -> None:
    """Beyond 32 that wait, for whatever, the answer is that there is no time, but for what is known."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes"), check=checker)
    assert ask(checked, ("yes", "known")) == [True]
    checker._open.clear()
    waiting = [("yes", str(number % 7), str(number)) for number in range(WAITING)]
    more = [("yes", "more", "new"), ("yes", "known", "new"), ("yes", "3", "new")]
    answers = gather(checked, [*waiting, *more], checker._open.set)
    assert answers == [*[True] * WAITING, BUSY, True, BUSY]
    assert ask(checked, ("yes", "more")) == [True]


def test_stop_sends_away_whoever_waits() -> None:
    """At once, and in the middle of a check: nobody is left to be cancelled, and nothing is begun."""
    checker = Checker()
    checked = held(checker, yes="$2y$04$yes", no="$2y$05$no")

    async def stopping() -> list[bool | str]:
        asked = [("yes", str(number), str(number)) for number in range(10)]
        tasks = [asyncio.ensure_future(checked.permits(user, text, client=client)) for user, text, client in asked]
        await asyncio.to_thread(checker._begun.wait, 60)
        checked.stop()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [answer if isinstance(answer, bool) else str(answer) for answer in answers]

    try:
        assert asyncio.run(stopping()) == [STOPPING] * 10
    finally:
        checker._open.set()
    join_threads()
    assert checker.calls == [(b"0", b"$2y$04$yes")]


def test_stop_leaves_what_is_remembered() -> None:
    """Whoever is known gets the last answers; others are told that it is over, however often it is stopped."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes"), check=checker)
    assert ask(checked, ("yes", "a"), ("nobody", "a")) == [True, False]
    for _ in range(2):
        checked.stop()
        assert gather(checked, [("yes", "a", None), ("nobody", "a", None), ("yes", "b", None)], checked.stop) == [
            True,
            False,
            STOPPING,
        ]
    assert len(checker.calls) == 2


def test_stop_ends_what_only_takes_time() -> None:
    """A wrong password is not held against the other costs any more: nobody is there to take the time."""
    checker = Checker()
    checked = held(checker, cheap="$2y$04$no", costly="$2y$12$no")

    async def stopping() -> None:
        task = asyncio.ensure_future(checked.permits("cheap", "a"))
        await asyncio.to_thread(checker._begun.wait, 60)
        checked.stop()
        checker._open.set()
        with pytest.raises(BusyError, match=f"^{STOPPING}$"):
            await task

    asyncio.run(stopping())
    join_threads()
    assert checker.calls == [(b"a", b"$2y$04$no")]


def test_thread_is_no_daemon() -> None:
    """Not even where it is started by one: the process must not end in the middle of a check."""
    daemons: list[bool] = []

    def check(*_: bytes) -> bool:
        daemons.append(threading.current_thread().daemon)
        return True

    thread = threading.Thread(
        target=ask, args=(Passwords(users(alice=HASH), check=check), ("alice", "a")), daemon=True
    )
    thread.start()
    thread.join(60)
    assert daemons == [False]


def test_known_answer_waits_for_no_check() -> None:
    """A scrape with the right password is answered while somebody guesses."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes"), check=checker)
    ask(checked, ("yes", "a"))

    async def scrape() -> bool:
        with checker.held():
            guess = asyncio.ensure_future(checked.permits("stranger", "a"))
            await asyncio.to_thread(checker._begun.wait, 60)
            answer = await checked.permits("yes", "a")
            assert not guess.done()
        return answer and not await guess

    assert asyncio.run(scrape())


def test_whoever_leaves_takes_nobodys_answer_along() -> None:
    """A client that goes away does not end the check that another waits for."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes"), check=checker)

    async def leaving() -> bool:
        with checker.held():
            first = asyncio.ensure_future(checked.permits("yes", "a"))
            second = asyncio.ensure_future(checked.permits("yes", "a"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        return await second

    assert asyncio.run(leaving())
    assert len(checker.calls) == 1


def test_thread_leaves_when_there_is_nothing_to_do() -> None:
    """No thread is left behind by users that have changed, and the next question starts one."""
    checked = Passwords(users(alice=HASH))
    for number in range(3):
        ask(checked, ("alice", str(number)))
        join_threads()
        assert "passwords" not in {thread.name for thread in threading.enumerate()}


def test_loop_that_has_ended_stops_no_check() -> None:
    """Whoever stops in the middle of a check leaves no trace, and nothing on standard error."""
    checker = Checker()
    checked = Passwords(users(yes="$2y$04$yes"), check=checker)

    async def stopping() -> None:
        task = asyncio.ensure_future(checked.permits("yes", "a"))
        await asyncio.to_thread(checker._begun.wait, 60)
        task.cancel()

    with checker.held():
        asyncio.run(stopping())
    join_threads()
    assert len(checker.calls) == 1


class Panic(BaseException):
    """What a library in Rust raises when it panics."""


@pytest.mark.parametrize("error", [ValueError("invalid salt"), RuntimeError(), Panic()])
def test_check_that_fails_is_a_no(error: BaseException) -> None:
    """Whatever the library raises, who waits is answered, and the next check is done."""

    def check(password: bytes, _: bytes) -> bool:
        if password == b"bad":
            raise error
        return True

    checked = Passwords(users(alice="$2y$04$yes"), check=Checker(check))
    assert ask(checked, ("alice", "bad"), ("alice", "good")) == [False, True]


def test_process_without_room_for_a_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and goes on when there is room again."""
    checked = Passwords(users(alice=HASH))

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(BusyError, match="the process has as many threads as it may"):
            ask(checked, ("alice", PASSWORD))
    assert ask(checked, ("alice", PASSWORD)) == [True]
