"""What a controller has told an agent to do with which objects, and how that gets into the agent's state cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sai3tui.errors import Sai3Error
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Generation, Holding, Known, overlay, told_to
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NamePool, NamesTaken
from sai3tui.state.wire import known_from_proto, names_from_rows


@dataclass(frozen=True, slots=True)
class Work:
    """One assignment. `known` is the generation with what is held of it (None: there is none yet); `names` are those
    that PUTs have taken; `survey`, if not empty, is how to look at the storage first; `added`: besides what there was
    to do already, because an agent was lost."""

    epoch: int
    known: Known | None
    names: Mapping[NamePool, NamesTaken]
    survey: str = ""
    added: bool = False

    @property
    def holdings(self) -> tuple[Holding, ...]:
        return self.known.record.holdings if self.known is not None else ()


def read_work(message: pb.Assignment) -> Work:
    """Raises Sai3Error for what cannot be."""
    try:
        known = known_from_proto(message.generation) if message.HasField("generation") else None
        names = names_from_rows(message.names)
    except ValueError as error:
        raise Sai3Error("the controller assigns what cannot be") from error
    return Work(message.epoch, known, names, message.survey, message.added)


def echo_of(message: pb.Assignment) -> pb.Assignment:
    """What the log keeps of it for controllers that come later, which need no states: those they learn from reports."""
    echo = pb.Assignment.FromString(message.SerializeToString())
    # Only to look into a generation that is not there would make one.
    if echo.HasField("generation"):
        echo.generation.ClearField("states")
    return echo


async def take_over(cache: LayoutCache, work: Work) -> Generation | None:
    """Put on record what is to be done, before any of it is begun. What is on record already is lost only to what the
    controller knows better. Raises ResourceError."""
    if work.known is None:
        return None
    record = work.known.record
    if not work.added:
        known = next((each for each in cache.known() if each.record.number == record.number), None)
        await cache.install(told_to(known, work.known))
        return record
    mine = cache.generations.get(record.number)
    before = mine.holdings if mine is not None else ()
    for each in work.holdings:
        told = work.known.slots.get((each.set_id, each.slot))
        if told is not None:
            overlay(cache.states(record, each.set_id, each.slot), told, each.first_k, each.end_k)
    record = replace(record, holdings=(*before, *record.holdings))
    cache.save(record)
    await cache.flush()
    return record


class Assignments:
    """What has been assigned and not been taken up, by stage. `stir` wakes those who wait."""

    def __init__(self, stir: Callable[[], None]) -> None:
        self._stir = stir
        self._waiting: dict[int, list[Work]] = {}
        self._done: dict[int, int] = {}
        self._known: set[tuple[int, int]] = set()

    def add(self, stage_index: int, work: Work) -> bool:
        """Whether it is news: a controller whose stream broke off says again what may not have been heard."""
        if (stage_index, work.epoch) in self._known:
            return False
        self._known.add((stage_index, work.epoch))
        self._waiting.setdefault(stage_index, []).append(work)
        self._stir()
        return True

    def untaken(self) -> list[Known]:
        """What has been told of objects together with what has not been taken up, the earlier before the later."""
        works = sorted((work for waiting in self._waiting.values() for work in waiting), key=lambda work: work.epoch)
        return [work.known for work in works if work.known is not None and not work.survey]

    def waiting(self, stage_index: int) -> bool:
        return bool(self._waiting.get(stage_index))

    def take(self, stage_index: int) -> Work | None:
        """The next assignment for a stage; None if there is none yet."""
        waiting = self._waiting.get(stage_index)
        if not waiting:
            return None
        work = waiting.pop(0)
        self._done[stage_index] = work.epoch
        return work

    def epoch(self, stage_index: int) -> int:
        """That of the last assignment for this stage that was taken up; 0 if there was none."""
        return self._done.get(stage_index, 0)
