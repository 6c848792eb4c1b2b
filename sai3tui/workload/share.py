"""Which objects an agent chooses among under `path_selection`, from its place in the fleet."""

from __future__ import annotations

from sai3tui.config.model import PathSelection
from sai3tui.workload.rng import below, splitmix64, uniform


class Share:
    """The part of `count` objects that agent number `agent` of `agents` calls its own.

    Objects are dealt in groups of `group` neighbours, which are the files of one directory, or 1. Needs no
    memory.
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

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self._count and index // self._group % self._agents == self._agent

    def nth(self, place: int) -> int:
        """The index of the agent's own object number `place`. Raises IndexError."""
        if not 0 <= place < self._own:
            raise IndexError(place)
        group, within = divmod(place, self._group)
        return (self._agent + group * self._agents) * self._group + within


class PathChoice:
    """Draws indices as `path_selection` says: RANDOM among all; EXCLUSIVE among the agent's own; PARTITIONED among its
    own, but with probability `overlap` among all; WEIGHTED among its own with probability 1 - `overlap`, else among
    those of the others. An agent without objects of its own draws among all."""

    __slots__ = ("_count", "_leave", "_others", "_share")

    def __init__(self, selection: PathSelection, share: Share, count: int, overlap: float) -> None:
        self._share = share
        self._count = count
        self._leave = {PathSelection.RANDOM: 1.0, PathSelection.EXCLUSIVE: 0.0}.get(selection, overlap)
        if not len(share):
            self._leave = 1.0
        self._others = selection is PathSelection.WEIGHTED and len(share) < count

    def draw(self, bits: int) -> int:
        """The index that 64 random bits choose."""
        if uniform(splitmix64(bits)) >= self._leave:
            return self._share.nth(below(splitmix64(bits ^ 1), len(self._share)))
        for attempt in range(2, 66):
            index = below(splitmix64(bits ^ attempt), self._count)
            if not self._others or index not in self._share:
                return index
        return index
