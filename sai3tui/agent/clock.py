"""This agent's clock: the host's, which tests can shift to see that nothing depends on hosts that agree on the time."""

from __future__ import annotations

import functools
import os
import time

SKEW_VARIABLE = "SAI3TUI_TEST_CLOCK_SKEW"
"""Seconds by which an agent's clock is ahead of its host's, for tests."""

ATTEMPTS = 4


def now_ns() -> int:
    """Nanoseconds since the Unix epoch."""
    return time.time_ns() + _skew_ns()


def both_ns() -> tuple[int, int]:
    """`now_ns` and CLOCK_MONOTONIC of one moment: of some attempts the one that was least interrupted."""
    best, agent_ns, mono_ns = 1 << 62, 0, 0
    for _ in range(ATTEMPTS):
        before = time.monotonic_ns()
        now = now_ns()
        after = time.monotonic_ns()
        if after - before < best:
            best, agent_ns, mono_ns = after - before, now, (before + after) // 2
    return agent_ns, mono_ns


@functools.cache
def _skew_ns() -> int:
    return round(float(os.environ.get(SKEW_VARIABLE) or 0.0) * 1e9)
