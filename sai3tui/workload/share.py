"""Which objects an agent chooses among under `path_selection`, from its place in the fleet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import PathSelection
from sai3tui.workload.popularity import Places


@dataclass(frozen=True, slots=True)
class Paths:
    """How agent number `agent` of `agents` chooses. Objects are dealt in groups of `group` neighbours: the files of
    one directory, or 1."""

    selection: PathSelection
    agent: int
    agents: int
    group: int = 1
    overlap: float = 0.0

    @property
    def leave(self) -> float:
        """How likely it chooses beyond its own: always under RANDOM, never under EXCLUSIVE, else by `overlap`."""
        return {PathSelection.RANDOM: 1.0, PathSelection.EXCLUSIVE: 0.0}.get(self.selection, self.overlap)

    def owned(self, indices: Places) -> NDArray[np.bool_]:
        """Which of these indices the agent calls its own."""
        return np.equal(indices // self.group % self.agents, self.agent)


class Share:
    """The part of `count` objects that agent number `agent` of `agents` calls its own.

    Objects are dealt in groups of `group` neighbours. Needs no memory.
    """

    __slots__ = ("_agent", "_agents", "_count", "_group", "_own")

    def __init__(self, count: int, agent: int, agents: int, group: int = 1) -> None:
        """Raises ValueError for an agent that is not one of them."""
        if not 0 <= agent < agents or group < 1:
            raise ValueError(f"there is no agent {agent} of {agents}")
        self._count = count
        self._agent = agent
        self._agents = agents
        self._group = group
        whole, rest = divmod(count, group)
        groups = max(0, (whole - agent + agents - 1) // agents)
        self._own = groups * group + (rest if whole % agents == agent else 0)

    def __len__(self) -> int:
        return self._own

    def indices(self, places: Places) -> Places:
        """The indices of the agent's own objects number `places`, which must be in [0, len(self))."""
        groups, within = np.divmod(places, self._group)
        return (self._agent + groups * self._agents) * self._group + within
