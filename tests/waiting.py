"""Waiting for conditions in tests, always with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil

POLL_S = 0.02


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether `condition()` became true within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


async def wait_until_async(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """`wait_until` for async tests: the loop goes on meanwhile."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody waited for has)."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
