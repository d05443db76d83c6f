"""How a tenant is asked that refuses or is silent: when it is not well, how long each probe waits, the end."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clock import Clock

from exporter.errors import Reason
from exporter.patience import Patience

LONGEST = 80.0
ALWAYS = float("-inf")
REFUSALS = [Reason.UNAUTHORIZED, Reason.LICENSE, Reason.FORBIDDEN]
SILENCES = [Reason.TIMEOUT, Reason.CONNECTION, Reason.TLS]
OTHERS = [
    Reason.THROTTLED,
    Reason.SERVER_ERROR,
    Reason.CLIENT_ERROR,
    Reason.REDIRECT,
    Reason.BAD_RESPONSE,
]
GOOD = [None, Reason.NOT_FOUND]


class Bench:
    """Patience with a tenant, and a clock; requests take a second."""

    def __init__(self, longest: float = LONGEST, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = Clock(1_000.0)
        self.patience = Patience(longest=longest, jitter=jitter)

    def end(self, failure: Reason | None) -> float:
        """Let a request leave and end, and return how long the next has to wait from then on."""
        left_at = self.clock.now
        self.patience.ended(left_at, self.clock.advance(1.0), failure)
        return self.patience.ready_at - self.clock.now

    def probe(self, failure: Reason | None) -> float:
        """Wait until a request may leave, and let it end."""
        self.clock.now = max(self.clock.now, self.patience.ready_at)
        return self.end(failure)


def test_tenant_is_well_until_it_shows_otherwise() -> None:
    """Nothing is held up before the first answer."""
    patience = Bench().patience
    assert (patience.well, patience.ready_at) == (True, ALWAYS)


@pytest.mark.parametrize("reason", REFUSALS)
def test_one_refusal_is_enough(reason: Reason) -> None:
    """A tenant that refuses is not well at once, and first waits an eighth of the longest wait."""
    bench = Bench()
    assert (bench.end(reason), bench.patience.well) == (LONGEST / 8, False)


@pytest.mark.parametrize("last", SILENCES)
@pytest.mark.parametrize("reason", SILENCES)
def test_silence_counts_from_the_third_time_in_a_row(reason: Reason, last: Reason) -> None:
    """Two requests without an answer may be chance; a third of whichever kind is not."""
    bench = Bench()
    assert [(bench.end(reason), bench.patience.well) for _ in range(2)] == [(ALWAYS, True)] * 2
    assert (bench.end(last), bench.patience.well) == (LONGEST / 8, False)


@pytest.mark.parametrize("between", [*GOOD, *OTHERS])
def test_silence_with_an_answer_between_counts_anew(between: Reason | None) -> None:
    """Any answer, good or bad, ends the row."""
    bench = Bench()
    for failure in (Reason.TIMEOUT, Reason.TIMEOUT, between, Reason.TIMEOUT, Reason.TIMEOUT):
        bench.end(failure)
    assert bench.patience.well
    bench.end(Reason.TIMEOUT)
    assert not bench.patience.well


@pytest.mark.parametrize("failure", [*GOOD, *OTHERS])
def test_other_outcomes_do_not_make_a_tenant_unwell(failure: Reason | None) -> None:
    """Answers that say nothing of the tenant as a whole hold nobody up, however many there are."""
    bench = Bench()
    assert [(bench.end(failure), bench.patience.well) for _ in range(20)] == [(ALWAYS, True)] * 20


@pytest.mark.parametrize("failure", [*REFUSALS, *SILENCES, *OTHERS])
def test_probes_wait_ever_longer_up_to_the_longest_wait(failure: Reason) -> None:
    """Each bad end of a probe, of whichever kind, doubles the wait up to its bound, and there it stays."""
    bench = Bench()
    bench.end(Reason.UNAUTHORIZED)
    assert [bench.probe(failure) for _ in range(5)] == pytest.approx([20.0, 40.0, 80.0, 80.0, 80.0])


def test_wait_is_bounded_after_any_number_of_probes() -> None:
    """Months of refusals end in no overflow."""
    bench = Bench()
    waits = {round(bench.probe(Reason.UNAUTHORIZED), 6) for _ in range(3_000)}
    assert waits == {10.0, 20.0, 40.0, 80.0}


@pytest.mark.parametrize(("chance", "waits"), [(0.5, [8.75, 17.5, 35, 70, 70]), (1.0, [7.5, 15, 30, 60, 60])])
def test_waits_are_shortened_by_chance(chance: float, waits: list[float]) -> None:
    """Up to a quarter less, so that exporters that began together do not stay together."""
    bench = Bench(jitter=lambda: chance)
    assert [bench.probe(Reason.UNAUTHORIZED) for _ in waits] == pytest.approx(waits)


@pytest.mark.parametrize("good", GOOD)
def test_good_answer_ends_it(good: Reason | None) -> None:
    """A status, or that an action does not exist: the tenant is well, and the next trouble begins small."""
    bench = Bench()
    for _ in range(6):
        bench.probe(Reason.FORBIDDEN)
    assert (bench.probe(good), bench.patience.well) == (ALWAYS, True)
    assert bench.end(Reason.FORBIDDEN) == LONGEST / 8


def test_silences_of_before_do_not_count_after_a_good_probe() -> None:
    """A tenant that has recovered from silence has three chances again."""
    bench = Bench()
    for _ in range(5):
        bench.probe(Reason.TIMEOUT)
    bench.probe(None)
    assert [(bench.end(Reason.TIMEOUT), bench.patience.well) for _ in range(2)] == [(ALWAYS, True)] * 2


@pytest.mark.parametrize("failure", [Reason.UNAUTHORIZED, Reason.TIMEOUT, *GOOD])
def test_request_that_left_before_the_judgement_says_nothing_new(failure: Reason | None) -> None:
    """However what was under way ends, the wait stays, and the tenant is unwell until a probe is answered."""
    patience = Patience(longest=LONGEST, jitter=lambda: 0.0)
    patience.ended(100.0, 101.0, Reason.UNAUTHORIZED)
    patience.ended(100.9, 105.0, failure)
    assert (patience.well, patience.ready_at) == (False, 101.0 + LONGEST / 8)


def test_tenant_counts_as_well_without_a_longest_wait() -> None:
    """With 0, as for --once, a tenant is asked freely whatever it answers."""
    patience = Patience(longest=0.0, jitter=lambda: 0.0)
    for number in range(5):
        patience.ended(100.0 + number, 101.0 + number, Reason.UNAUTHORIZED)
        patience.ended(100.0 + number, 101.0 + number, Reason.TIMEOUT)
    assert (patience.well, patience.ready_at) == (True, ALWAYS)


def test_expedited_probe_may_leave_at_once() -> None:
    """After a new key nobody waits, and if that is refused as well the waits begin small again."""
    bench = Bench()
    for _ in range(6):
        bench.probe(Reason.UNAUTHORIZED)
    bench.patience.expedite(bench.clock.now)
    assert (bench.patience.well, bench.patience.ready_at) == (False, ALWAYS)
    assert [bench.probe(Reason.UNAUTHORIZED) for _ in range(3)] == pytest.approx([10.0, 20.0, 40.0])


def test_refusal_of_the_old_key_does_not_count_after_a_new_one() -> None:
    """What left before the key changed was refused for the old one."""
    patience = Patience(longest=LONGEST, jitter=lambda: 0.0)
    patience.expedite(105.0)
    patience.ended(100.0, 106.0, Reason.UNAUTHORIZED)
    assert (patience.well, patience.ready_at) == (True, ALWAYS)
    patience.ended(105.5, 106.5, Reason.UNAUTHORIZED)
    assert (patience.well, patience.ready_at) == (False, 106.5 + LONGEST / 8)


def test_expediting_a_tenant_that_is_well_changes_nothing() -> None:
    """A rotated key of a tenant that answers is no event."""
    bench = Bench()
    bench.patience.expedite(bench.clock.now)
    assert (bench.patience.well, bench.patience.ready_at) == (True, ALWAYS)
    assert bench.end(None) == ALWAYS


def test_other_longest_wait_bounds_the_next_probe() -> None:
    """A reload's shorter bound holds for the wait that goes on, a longer one from the next judgement on."""
    bench = Bench()
    for _ in range(6):
        bench.probe(Reason.UNAUTHORIZED)
    bench.patience.configure(longest=8.0, now=bench.clock.now)
    assert bench.patience.ready_at == bench.clock.now + 8.0
    assert bench.probe(Reason.UNAUTHORIZED) == pytest.approx(8.0)
    bench.patience.configure(longest=800.0, now=bench.clock.now)
    assert bench.patience.ready_at == pytest.approx(bench.clock.now + 8.0)
    assert bench.probe(Reason.UNAUTHORIZED) == pytest.approx(800.0)


EVENTS = st.one_of(
    st.sampled_from([*REFUSALS, *SILENCES, *OTHERS, *GOOD]), st.just("expedite"), st.floats(0, 2 * LONGEST)
)


@settings(deadline=None)  # A busy machine is no failure.
@given(st.lists(EVENTS, max_size=60), st.floats(0, 1, exclude_max=True), st.floats(1, 1e6))
def test_waits_are_bounded_and_never_shrink_without_a_reason(
    events: list[Reason | str | float | None], chance: float, longest: float
) -> None:
    """Between good answers and new keys, each wait is as long as the one before or longer, up to the longest."""
    bench = Bench(longest, jitter=lambda: chance)
    before = 0.0
    for event in events:
        if isinstance(event, float):
            bench.clock.advance(event)
        elif event == "expedite":
            bench.patience.expedite(bench.clock.now)
            before = 0.0
        else:
            wait = bench.probe(None if event is None else Reason(event))
            assert bench.patience.well is (wait == ALWAYS)
            assert wait <= longest + 1e-6
            if bench.patience.well:
                before = 0.0
            else:
                assert wait >= max(before, longest / 8 * 0.75) - 1e-6
                before = wait


@pytest.mark.parametrize("seed", range(3))
def test_waits_with_chance_stay_within_a_quarter(seed: int) -> None:
    """Chance takes a quarter at most from each wait, and adds to none."""
    bench = Bench(jitter=Random(seed).random)
    waits = [bench.probe(Reason.UNAUTHORIZED) for _ in range(100)]
    whole = [10.0, 20.0, 40.0] + [80.0] * 97
    assert [0.75 * most - 1e-6 <= wait <= most for wait, most in zip(waits, whole, strict=True)] == [True] * 100
    assert len(set(waits)) == 100
