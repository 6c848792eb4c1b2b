"""Which controllers follow a run, and which one of them leads it. The others are viewers: what they say is not done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sai3tui.agent.clock import now_ns
from sai3tui.errors import ErrorKind, Sai3Error


@dataclass(frozen=True, slots=True)
class Lead:
    """Which controller leads (empty: none), and since when on our clock, in nanoseconds."""

    by: str
    since_ns: int


@dataclass(eq=False, slots=True)
class Seat:
    """One controller's place at a run. `news` gets who leads, to begin with and whenever that changes, from those who
    do not."""

    controller: str
    leads: bool = False
    news: asyncio.Queue[Lead] = field(default_factory=asyncio.Queue)


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """By what a controller leads. Controllers number their claims one higher than any that they have been told of; of
    two that did so at once, one that takes over goes before one that does not, and then the name decides. As all agents
    compare alike, one of them has its way everywhere."""

    term: int = 0
    takes_over: bool = False
    controller: str = ""

    def displaces(self, other: Claim) -> bool:
        """Whether it may lead in the place of another one that leads."""
        return self > other and (self.takes_over or 0 < self.term == other.term)


class Leadership:
    """The seats at one run. `on_change` is called when one is taken, left or changed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.alone_since: float | None = time.monotonic()
        """Since when nobody leads, on the monotonic clock; None while somebody does."""
        self._leader: Seat | None = None
        self._lead = Lead("", now_ns())
        self._last = self._lead
        """The last one that had a name."""
        self._claim = Claim()
        """That of whoever leads, or led last."""
        self._displaced: set[str] = set()
        """Controllers from whom another one has taken the lead."""
        self._seats: set[Seat] = set()
        self._on_change = on_change

    @property
    def leader(self) -> str:
        """The name of the controller that leads; empty if there is none."""
        return self._lead.by

    @property
    def alone(self) -> bool:
        """Whether no controller leads."""
        return self._leader is None

    @property
    def term(self) -> int:
        """With which the controller leads that does, or the last one did."""
        return self._claim.term

    def taken_from(self, controller: str) -> Lead | None:
        """Who has taken the lead from this controller, or never gave it to it; None if it may order what it likes. One
        that does not say its name may."""
        if not controller or controller == self._lead.by:
            return None
        if self._lead.by or controller in self._displaced:
            return self._last
        return None

    def join(self, controller: str, *, lead: bool, take_over: bool = False, term: int = 0) -> Seat:
        """Take a seat. Raises Sai3Error if it is to lead while another one does whose claim is better, or while it may
        not `take_over`."""
        seat = Seat(controller or "a controller")
        if lead:
            claim, before = Claim(term, take_over, seat.controller), self._leader
            # Who comes back may be here before the end of its old stream is known.
            other = before.controller if before is not None and before.controller != seat.controller else ""
            may = claim.displaces(self._claim) if other else term >= self.term
            if not may:
                raise Sai3Error(
                    f"this run is led by {other}" if other else f"{self._last.by} has taken this run over",
                    hint="watch it, or take it over with --take-over",
                    kind=ErrorKind.RESOURCE,
                )
            self._claim = claim
            if before is not None:
                before.leads = False
            if self._last.by and self._last.by != seat.controller:
                self._displaced.add(self._last.by)
            self._displaced.discard(seat.controller)
            seat.leads = True
            self._leader = seat
            self.alone_since = None
            # Whose stream broke off for a moment has led all the time.
            self._tell(self._last if self._last.by == seat.controller else Lead(seat.controller, now_ns()))
        else:
            seat.news.put_nowait(self._lead)
        self._seats.add(seat)
        self._on_change()
        return seat

    def leave(self, seat: Seat) -> None:
        """The controller is gone, with or without a goodbye."""
        seat.leads = False
        self._seats.discard(seat)
        if self._leader is seat:
            self._leader = None
            self.alone_since = time.monotonic()
            self._tell(Lead("", now_ns()))
        self._on_change()

    def _tell(self, lead: Lead) -> None:
        self._lead = lead
        if lead.by:
            self._last = lead
        for seat in self._seats:
            seat.news.put_nowait(lead)
