"""What one agent finds out for all reaches those too whose streams broke off in the middle of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest

from sai3tui.agent import sharing
from sai3tui.agent.sharing import Sharing
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
    conductor = Conductor(plan, streams, journal, coordinator)

    def told(number: int) -> None:
        part = pb.SharedPart(topic="names", number=number, count=4, data=bytes([number]))
        conductor.hear("a1", pb.AgentMessage(shared=part))

    for number in range(3):
        told(number)
    await asyncio.gather(*sent)
    link.seated.set()
    again = asyncio.create_task(conductor._say_again(link))  # type: ignore[arg-type]
    await link.begun.wait()
    told(3)
    await asyncio.gather(again, *sent)
    async with asyncio.timeout(10):
        assert await link.agent.wait("names") == bytes(range(4))


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
