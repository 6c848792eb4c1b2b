"""Waiting for conditions in tests, always with a bound.

A machine that stands still (a guest that gets no processor for a minute) is not a condition that does not come true:
between two looks at most `MOST_S` counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil

POLL_S = 0.02
MOST_S = 1.0


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether `condition()` became true within `timeout_s` seconds."""
    patience = _Patience(timeout_s)
    while not condition():
        if patience.ends():
            return False
        time.sleep(POLL_S)
    return True


async def wait_until_async(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """`wait_until` for async tests: the loop goes on meanwhile."""
    patience = _Patience(timeout_s)
    while not condition():
        if patience.ends():
            return False
        await asyncio.sleep(POLL_S)
    return True


class _Patience:
    def __init__(self, timeout_s: float) -> None:
        self._left_s = timeout_s
        self._looked = time.monotonic()

    def ends(self) -> bool:
        """Whether it is over; to be asked at every look."""
        now = time.monotonic()
        self._left_s -= min(now - self._looked, MOST_S)
        self._looked = now
        return self._left_s < 0


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody waited for has)."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
