"""The time of a process goes on whatever becomes of the host's clock."""

from __future__ import annotations

import pickle
import time
from itertools import pairwise

import pytest

from sai3tui.clock import Clock, host_clock, now_ns

HOUR_NS = 3600 * 10**9
SOON_NS = 60 * 10**9


@pytest.mark.parametrize("step_ns", [-HOUR_NS, HOUR_NS])
def test_setting_the_hosts_clock_changes_nothing(step_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = time.clock_gettime_ns
    before = now_ns()
    assert abs(before - time.time_ns()) < SOON_NS
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: read(which) + step_ns * (which == time.CLOCK_REALTIME))
    assert 0 <= now_ns() - before < SOON_NS
    # It is what a process that starts then goes by.
    host_clock.cache_clear()
    try:
        assert abs(now_ns() - before - step_ns) < SOON_NS
    finally:
        host_clock.cache_clear()


def test_a_clock_means_the_same_in_another_process() -> None:
    clock = host_clock()
    other: Clock = pickle.loads(pickle.dumps(clock))
    times = [each.now_ns() for each in (clock, other, clock, other)]
    assert all(first <= second for first, second in pairwise(times))
    now, mono = other.both_ns()
    assert times[-1] <= now <= clock.now_ns()
    assert mono <= time.monotonic_ns()
