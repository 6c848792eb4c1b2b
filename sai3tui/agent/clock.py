"""This agent's clock: the host's, which tests can shift to see that nothing depends on hosts that agree on the time."""

from __future__ import annotations

import functools
import os

from sai3tui.clock import Clock, host_clock

SKEW_VARIABLE = "SAI3TUI_TEST_CLOCK_SKEW"
"""Seconds by which an agent's clock is ahead of its host's, for tests."""


@functools.cache
def agent_clock() -> Clock:
    """The one of this process; its workers are told."""
    skew_ns = round(float(os.environ.get(SKEW_VARIABLE) or 0.0) * 1e9)
    return Clock(host_clock().ahead_ns + skew_ns)


def now_ns() -> int:
    """Nanoseconds since the Unix epoch."""
    return agent_clock().now_ns()
