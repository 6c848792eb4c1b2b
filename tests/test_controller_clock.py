from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.controller.clock import ClockEstimate, ClockFilter

MS = 1_000_000
DELAYS = st.integers(0, 50 * MS)


@given(st.integers(-(10**15), 10**15), st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=100))
def test_the_true_offset_is_within_the_uncertainty(offset: int, ways: list[tuple[int, int]]) -> None:
    clock = ClockFilter()
    now = 10**18
    for there, back in ways:
        clock.add(now, now + there - offset, now + there + back)
        now += 1000 * MS
    estimate = clock.estimate
    assert abs(estimate.offset_ns - offset) <= estimate.uncertainty_ns + 1
    assert estimate.uncertainty_ns <= (min(there + back for there, back in ways[-64:]) + 1) // 2


def test_one_quick_echo_outweighs_many_slow_ones() -> None:
    clock = ClockFilter()
    for _ in range(20):
        clock.add(0, 5000 * MS + 90 * MS, 100 * MS)
    clock.add(0, 5000 * MS, 0)
    assert clock.estimate == ClockEstimate(-5000 * MS, 0)


def test_what_is_old_is_forgotten() -> None:
    clock = ClockFilter(window=2)
    clock.add(0, 7 * MS, 0)
    clock.add(0, 0, 2 * MS)
    clock.add(0, 0, 2 * MS)
    assert clock.estimate == ClockEstimate(MS, MS)


def test_an_echo_before_its_call_counts_nothing() -> None:
    clock = ClockFilter()
    clock.add(100, 0, 50)
    assert clock.estimate == ClockEstimate()
