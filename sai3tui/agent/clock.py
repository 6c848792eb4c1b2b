"""This agent's clock: the host's, which tests can shift to see that nothing depends on hosts that agree on the time."""

from __future__ import annotations

import functools
import os
import time

SKEW_VARIABLE = "SAI3TUI_TEST_CLOCK_SKEW"
"""Seconds by which an agent's clock is ahead of its host's, for tests."""


def now_ns() -> int:
    """Nanoseconds since the Unix epoch."""
    return time.time_ns() + _skew_ns()


@functools.cache
def _skew_ns() -> int:
    return round(float(os.environ.get(SKEW_VARIABLE) or 0.0) * 1e9)
