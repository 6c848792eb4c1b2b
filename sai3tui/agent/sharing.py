"""What one agent finds out for the whole fleet: its controller passes it on to the others.

Agent number 0 publishes; the others wait, for a bounded time and no longer than it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sai3tui.errors import AgentLostError
from sai3tui.proto import sai3tui_pb2 as pb

PART_BYTES = 256 * 1024
WAIT_S = 900.0
"""How long a thing may be in the making."""
MAX_BYTES = 1 << 30
"""So much of what others told is held at a time, for this agent to wait for."""


class Sharing:
    """Belongs to one run of one agent. `say` sends a part to the controller."""

    def __init__(self, agent: int, agents: int, say: Callable[[pb.SharedPart], None]) -> None:
        self.publishes = agent == 0 or agents == 1
        """Whether this agent is the one that finds things out."""
        self.alone = agents == 1
        self._say = say
        self._parts: dict[str, list[bytes]] = {}
        self._whole: dict[str, bytes] = {}
        self._taken: set[str] = set()
        """What this agent has waited for, or cannot hold: of that nothing is kept when it is told again."""
        self._held = 0
        """Bytes of all parts and of all that is whole."""
        self._lost = ""
        self._changed = asyncio.Event()

    def publish(self, topic: str, data: bytes) -> None:
        """Tell all other agents."""
        if self.alone:
            return
        count = max(1, -(-len(data) // PART_BYTES))
        for number in range(count):
            part = data[number * PART_BYTES : (number + 1) * PART_BYTES]
            self._say(pb.SharedPart(topic=topic, number=number, count=count, data=part))

    def take(self, part: pb.SharedPart) -> None:
        """What the controller passes on. Without a topic: the agent that publishes is lost."""
        if not part.topic:
            self._lost = part.lost or "it is lost"
        elif part.topic not in self._whole and part.topic not in self._taken:
            self._keep(part)
        signal, self._changed = self._changed, asyncio.Event()
        signal.set()

    def _keep(self, part: pb.SharedPart) -> None:
        """Of a topic that is told again from the beginning, to a controller that has come back, each part once."""
        parts = self._parts.setdefault(part.topic, [])
        if part.number != len(parts):
            return
        if self._held + len(part.data) > MAX_BYTES:
            self._held -= sum(map(len, self._parts.pop(part.topic)))
            self._taken.add(part.topic)
            return
        self._held += len(part.data)
        parts.append(part.data)
        if len(parts) == part.count:
            self._whole[part.topic] = b"".join(self._parts.pop(part.topic))

    async def wait(self, topic: str) -> bytes:
        """What was published, once. Raises AgentLostError if it will not come."""
        try:
            async with asyncio.timeout(WAIT_S):
                while topic not in self._whole:
                    if topic in self._taken:
                        raise AgentLostError(f"what was told of {topic!r} is too much to be held here")
                    if self._lost:
                        raise AgentLostError(f"the agent that was to tell of {topic!r} does not: {self._lost}")
                    await self._changed.wait()
        except TimeoutError as error:
            raise AgentLostError(f"nothing was told of {topic!r} within {WAIT_S:g} s") from error
        self._taken.add(topic)
        whole = self._whole.pop(topic)
        self._held -= len(whole)
        return whole
