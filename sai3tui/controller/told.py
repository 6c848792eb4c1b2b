"""What a controller said of the run while it led, as agents have kept it: who only has their logs learns it from there.
Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

from sai3tui.events import (
    AbortRequested,
    AgentState,
    BarrierWait,
    Event,
    Finding,
    LeaderTold,
    Level,
    Note,
    PutTwice,
    RunFinished,
    StageFinished,
    StateChanged,
    Steered,
    WorkHandedOver,
)
from sai3tui.results.events_log import parse_event
from sai3tui.results.tally import Item

OWN_MATTERS = frozenset({"baseline", "credentials", "history", "lead", "plan", "rejoin", "results", "version"})
"""Codes of notes about a controller's own streams and files."""
_Key = tuple[int, type[Event], str]


def worth_telling(item: Item) -> TypeGuard[Event]:
    """Whether others want to know this, and cannot know it from what agents say. Thresholds everybody judges."""
    if not isinstance(item, Event) or item.sequence:
        return False
    match item:
        case Steered() | BarrierWait() | AbortRequested() | WorkHandedOver() | PutTwice():
            return True
        case Note(code=code):
            return code not in OWN_MATTERS
        case StateChanged(state=state):
            return state is AgentState.LOST
        case StageFinished(failure=failure):
            return failure is not None
        case Finding(level=level):
            return level >= Level.WARNING
        case _:
            return False


def said(told: LeaderTold) -> Event | None:
    """What the leader said, on our clock; None if this version does not understand it."""
    event = parse_event(told.line.encode())
    if event is None or event.time_ns != told.said_ns:
        return None
    if isinstance(event, BarrierWait) and event.deadline_ns:
        event = replace(event, deadline_ns=event.deadline_ns + told.time_ns - told.said_ns)
    return replace(event, time_ns=told.time_ns)


class Hearsay:
    """Takes the same from several agents once; not what is `ours`, the name of a controller, nor what was heard from
    elsewhere."""

    def __init__(self, ours: str = "") -> None:
        self._ours = ours
        self._known: set[_Key] = set()

    def know(self, event: Event) -> None:
        """This is on record as the leader said it itself."""
        self._known.add((event.time_ns, type(event), event.agent))

    def take(self, told: LeaderTold) -> Event | None:
        """What is new in it; None if nothing is."""
        event = said(told)
        if event is None or (self._ours and told.by == self._ours):
            return None
        key = (told.said_ns, type(event), event.agent)
        if key in self._known:
            return None
        self._known.add(key)
        return event


def told_again(items: Iterable[Item]) -> list[Item]:
    """What leaders said themselves, where `items` have it from agents only. Not how the run ended: for those who come
    to it, it goes on."""
    items = list(items)
    hearsay = Hearsay()
    for item in items:
        if isinstance(item, Event) and not item.sequence:
            hearsay.know(item)
    found = (hearsay.take(item) for item in items if isinstance(item, LeaderTold))
    return [event for event in found if event is not None and not isinstance(event, RunFinished)]
