"""What one agent finds out for all reaches those too whose streams broke off in the middle of it."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from sai3tui.agent.sharing import Sharing
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.conductor import Conductor
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
    plan: Any = SimpleNamespace(resolved=None)
    journal: Any = SimpleNamespace(emit=None)
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
