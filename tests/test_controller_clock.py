from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.controller.clock import MOST_PPM, ROUNDING_NS, ClockEstimate, ClockFilter, Echo, drift_bounds

MS = 1_000_000
SECOND = 1000 * MS
START = 10**18
DELAYS = st.integers(0, 50 * MS)
WAYS = st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=300)


def echo(clock: ClockFilter, at_ns: int, offset_ns: int, there: int = 0, back: int = 0) -> None:
    """One that was at the agent at `at_ns`, when the offset was `offset_ns`."""
    clock.add(at_ns - there, at_ns - offset_ns, at_ns + back)


@given(st.integers(-(10**15), 10**15), st.floats(-MOST_PPM, MOST_PPM), WAYS)
def test_the_true_offset_and_drift_are_within_what_is_said(
    offset: int, ppm: float, ways: list[tuple[int, int]]
) -> None:
    clock = ClockFilter()
    for number, (there, back) in enumerate(ways):
        at = number * SECOND
        echo(clock, START + at, offset + round(at * ppm / 1e6), there, back)
    true = offset + round(at * ppm / 1e6)
    estimate = clock.estimate
    there, back = ways[-1]
    # It is that of the moment in which the echo came back, and the true one that of the agent's answer.
    drifted = (there + back) * abs(ppm) / 1e6
    assert abs(estimate.offset_ns - true) <= estimate.uncertainty_ns + ROUNDING_NS + drifted
    assert estimate.uncertainty_ns <= (there + back + 1) // 2 * 1.001 + 1


@settings(max_examples=20, deadline=None)
@given(st.floats(-400, 400), st.integers(0, 24))
def test_drift_is_found_within_minutes_and_kept_for_hours(ppm: float, hours: int) -> None:
    """With 0.2 ms there and back, and one echo a second for 5 minutes, then one a minute."""
    clock = ClockFilter()
    for at_s in (*range(300), *range(300, 300 + 3600 * hours, 60)):
        echo(clock, START + at_s * SECOND, round(at_s * SECOND * ppm / 1e6), MS // 10, MS // 10)
    assert abs(clock.estimate.drift_ppm - ppm) < 1.0
    assert clock.estimate.uncertainty_ns <= MS // 10 * 1.001 + 1


def test_one_quick_echo_outweighs_many_slow_ones() -> None:
    clock = ClockFilter()
    for number in range(20):
        echo(clock, number * SECOND, -5000 * MS, 90 * MS, 10 * MS)
    echo(clock, 20 * SECOND, -5000 * MS)
    estimate = clock.estimate
    assert (estimate.offset_ns, estimate.uncertainty_ns) == (-5000 * MS, 0)


@pytest.mark.parametrize("ppm", [0.0, 100.0])
@pytest.mark.parametrize("since_s", [1, 50])
def test_a_clock_that_is_set_is_measured_anew(ppm: float, since_s: int) -> None:
    clock = ClockFilter()
    for at_s in range(200):
        step = 0 if at_s < 200 - since_s else 3 * SECOND
        echo(clock, START + at_s * SECOND, step + round(at_s * SECOND * ppm / 1e6), MS, MS)
    assert abs(clock.estimate.offset_ns - 3 * SECOND - round(199 * SECOND * ppm / 1e6)) <= clock.estimate.uncertainty_ns
    assert clock.estimate.uncertainty_ns <= MS * 1.001 + 1
    assert since_s == 1 or abs(clock.estimate.drift_ppm - ppm) < 50


def test_bounds_of_a_drift() -> None:
    assert drift_bounds([]) == drift_bounds([Echo(0, 5, 1)]) == (-MOST_PPM, MOST_PPM)
    low, high = drift_bounds([Echo(0, 0, MS), Echo(100 * SECOND, 10 * MS, MS)]) or (0.0, 0.0)
    assert (low, high) == pytest.approx((80.0, 120.0))
    assert drift_bounds([Echo(0, 0, 0), Echo(SECOND, SECOND, 0)]) is None


def test_an_echo_before_its_call_counts_nothing() -> None:
    clock = ClockFilter()
    clock.add(100, 0, 50)
    assert clock.estimate == ClockEstimate()
