"""What agents are told reaches them: also if a stream breaks off in the middle of it, or the controller leaves."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest

from sai3tui.agent import sharing
from sai3tui.agent.sharing import Sharing
from sai3tui.controller import conductor
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.conductor import Conductor
from sai3tui.errors import AgentLostError
from sai3tui.proto import sai3tui_pb2 as pb


class Link:
    """To an agent whose stream is opened again; each write takes a turn of the loop."""

    id = "a2"

    def __init__(self) -> None:
        self.seated = asyncio.Event()
        self.agent = Sharing(1, 2, lambda part: None)
        self.begun = asyncio.Event()

    async def share(self, part: pb.SharedPart) -> None:
        if self.seated.is_set():
            self.agent.take(part)
            self.begun.set()
            await asyncio.sleep(0)


async def test_parts_that_come_while_others_are_said_again_are_not_lost() -> None:
    link = Link()
    sent: list[asyncio.Task[None]] = []
    streams: Any = SimpleNamespace(
        links={"a1": SimpleNamespace(id="a1"), "a2": link},
        machine=Barriers(["a1", "a2"], time.monotonic()),
        present=lambda _agents: [link],
        spawn=lambda work: sent.append(asyncio.create_task(work)),
    )
    plan: Any = SimpleNamespace(resolved=None, local=True)
    journal: Any = SimpleNamespace(emit=None, listen=lambda on_item: None)
    coordinator: Any = SimpleNamespace(take=lambda _agent, _message: [])
    leads = Conductor(plan, streams, journal, coordinator)

    def told(number: int) -> None:
        part = pb.SharedPart(topic="names", number=number, count=4, data=bytes([number]))
        leads.hear("a1", pb.AgentMessage(shared=part))

    for number in range(3):
        told(number)
    await asyncio.gather(*sent)
    link.seated.set()
    again = asyncio.create_task(leads._say_again(link))  # type: ignore[arg-type]
    await link.begun.wait()
    told(3)
    await asyncio.gather(again, *sent)
    async with asyncio.timeout(10):
        assert await link.agent.wait("names") == bytes(range(4))


class Leaving:
    """A controller that goes while what follows from a word of a1 has yet to be said to a2. It notes what it does."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.told = asyncio.Event()
        self.order = pb.Assignment(stage_index=1, epoch=3, added=True)
        link = SimpleNamespace(id="a2", assign=self._assign)
        streams: Any = SimpleNamespace(
            links={"a2": link},
            machine=Barriers(["a1", "a2"], time.monotonic()),
            leave=self._leave,
            stop_asking=lambda: None,
        )
        plan: Any = SimpleNamespace(resolved=None, local=False)
        journal: Any = SimpleNamespace(emit=None, listen=lambda on_item: None)
        coordinator: Any = SimpleNamespace(take=self._take, twice={}, close=self._close)
        self.conductor = Conductor(plan, streams, journal, coordinator)

    def _take(self, agent: str, message: pb.AgentMessage) -> list[tuple[str, pb.Assignment]]:
        return [("a2", self.order)] if agent == "a1" else []

    async def _assign(self, order: pb.Assignment) -> None:
        self.done.append(f"told {order.epoch}")
        self.told.set()

    async def _leave(self) -> None:
        self.done.append("left")

    async def _close(self) -> None:
        self.done.append("closed")


async def test_whoever_leaves_has_said_what_there_was_to_say_and_was_heard() -> None:
    leaving = Leaving()
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        leaving.conductor.begin_work(group)
        leaving.conductor.hear("a1", pb.AgentMessage(surveyed=pb.Surveyed(stage_index=1)))
        left = group.create_task(leaving.conductor.leave())
        await leaving.told.wait()
        assert not left.done()
        leaving.conductor.hear("a2", pb.AgentMessage(assigned=leaving.order))
        await left
    assert leaving.done == ["told 3", "left", "closed"]


async def test_one_that_does_not_answer_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "LAST_ORDERS_S", 0.01)
    leaving = Leaving()
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        leaving.conductor.begin_work(group)
        leaving.conductor.hear("a1", pb.AgentMessage(surveyed=pb.Surveyed(stage_index=1)))
        await leaving.conductor.leave()
    assert leaving.done == ["told 3", "left", "closed"]


def parts_of(topic: str, data: bytes) -> list[pb.SharedPart]:
    """What an agent says that publishes `data`."""
    said: list[pb.SharedPart] = []
    Sharing(0, 2, said.append).publish(topic, data)
    return said


async def test_what_is_told_again_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PART_BYTES", 4)
    # As much as one topic at a time: whatever of an earlier one stayed would leave no room.
    monkeypatch.setattr(sharing, "MAX_BYTES", 10)
    agent = Sharing(1, 2, lambda part: None)
    for topic in ("one", "two", "three"):
        told = parts_of(topic, b"0123456789")
        for part in itertools.chain(told[:2], told, told):
            agent.take(part)
        async with asyncio.timeout(10):
            assert await agent.wait(topic) == b"0123456789"
        for part in itertools.chain(told, told[:1]):
            agent.take(part)


async def test_what_is_more_than_can_be_held_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PART_BYTES", 4)
    monkeypatch.setattr(sharing, "MAX_BYTES", 10)
    agent = Sharing(1, 2, lambda part: None)
    for part in parts_of("small", b"01234") + parts_of("large", b"0123456789"):
        agent.take(part)
    async with asyncio.timeout(10):
        with pytest.raises(AgentLostError, match="too much"):
            await agent.wait("large")
        assert await agent.wait("small") == b"01234"
