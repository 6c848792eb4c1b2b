"""Endpoints that keep failing, as a worker sees them: their connections begin nothing for a while, then one tries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns

from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import EndpointBack, EndpointFailing
from sai3tui.errors import Failure

STRIKES = 8
"""So many attempts in a row without a success between them mean that an endpoint keeps failing."""


class Outages:
    """Belongs to one stage. The main process decides whether an endpoint rests, because only it knows the others.

    `held` are the endpoints whose connections must ask `holds` before they begin anything.
    """

    def __init__(
        self,
        stage: int,
        send: Callable[[object], None],
        later: Callable[[float, Callable[[int], None], int], asyncio.TimerHandle],
        resume: Callable[[Lane], None],
        opened: Callable[[int], None],
    ) -> None:
        self._stage = stage
        self._send = send
        self._later = later
        self._resume = resume
        self._opened = opened
        self.suspects: dict[int, int] = {}
        """Failures in a row, by endpoint."""
        self.held: set[int] = set()
        self._benched: dict[int, list[Lane]] = {}
        self._trying: dict[int, Lane] = {}
        """Endpoints that have rested, and the connection that tries."""
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def failed(self, endpoint: int, failure: Failure) -> None:
        """An attempt has failed in a way that time may mend."""
        count = self.suspects.get(endpoint, 0) + 1
        self.suspects[endpoint] = count
        if count == STRIKES or (count > STRIKES and endpoint in self._trying):
            self._trying.pop(endpoint, None)
            self._send(EndpointFailing(self._stage, endpoint, failure))

    def succeeded(self, endpoint: int) -> None:
        """An operation has succeeded at a suspect."""
        if self.suspects.pop(endpoint, None) is None:
            return
        if self._trying.pop(endpoint, None) is not None:
            self._send(EndpointBack(self._stage, endpoint))
            self._release(endpoint)

    def rest(self, endpoint: int, until_ns: int) -> None:
        """Begin nothing at an endpoint before `until_ns` (monotonic). 0: go on, there is no other one left."""
        self._trying.pop(endpoint, None)
        timer = self._timers.pop(endpoint, None)
        if timer is not None:
            timer.cancel()
        if not until_ns:
            self.suspects.pop(endpoint, None)
            self._release(endpoint)
            return
        self.held.add(endpoint)
        self.suspects[endpoint] = STRIKES
        self._timers[endpoint] = self._later(max(0.0, (until_ns - monotonic_ns()) / 1e9), self._try, endpoint)

    def holds(self, lane: Lane) -> bool:
        """Whether the lane, of an endpoint in `held`, must not begin anything; it is resumed in time."""
        if self._trying.get(lane.endpoint) is lane:
            return False
        self._benched.setdefault(lane.endpoint, []).append(lane)
        return True

    def close(self) -> None:
        """Resume nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._benched.clear()

    def _try(self, endpoint: int) -> None:
        """The rest is over: one connection sees how it goes."""
        self._timers.pop(endpoint, None)
        self._opened(endpoint)
        benched = self._benched.get(endpoint)
        if not benched:
            # Those that are busy are the ones who try.
            self.held.discard(endpoint)
            self.suspects[endpoint] = STRIKES - 1
            return
        lane = benched.pop()
        self._trying[endpoint] = lane
        self._resume(lane)

    def _release(self, endpoint: int) -> None:
        self.held.discard(endpoint)
        self._opened(endpoint)
        for lane in self._benched.pop(endpoint, ()):
            self._resume(lane)
