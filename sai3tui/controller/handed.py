"""What becomes of the work of a lost agent, and how those who get it tell controllers that come later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Holding
from sai3tui.state.names import NamePool, NamesTaken
from sai3tui.state.wire import holding_from_proto, holding_to_proto, names_from_rows, names_to_rows


@dataclass(frozen=True, slots=True)
class HandOver:
    """What becomes of the work of a lost agent: so many objects are left to do, and who gets which of them."""

    objects: int
    to: Mapping[str, tuple[Holding, ...]]
    names: Mapping[str, tuple[NamePool, ...]] = field(default_factory=dict)
    """Pools of names that cleanup has to go through, likewise."""
    held: tuple[Holding, ...] = ()
    """All that it held, what it had done of that included."""

    @property
    def agents(self) -> tuple[str, ...]:
        """Who gets anything."""
        return tuple(dict.fromkeys((*self.to, *self.names)))


@dataclass(frozen=True, slots=True)
class Handed:
    """What another controller had made of the work of a lost agent, as those tell that got a part of it: of what the
    agent `held` up to this epoch, all that was `left` to do went to others. `names` are those whose objects it had to
    delete."""

    agent: str
    epoch: int
    held: tuple[Holding, ...]
    left: tuple[Holding, ...]
    names: Mapping[NamePool, NamesTaken] = field(default_factory=dict)


def handed_to_proto(agent: str, handed: HandOver, names: Mapping[NamePool, NamesTaken]) -> pb.HandedOver:
    """`names`: how far each pool is taken."""
    return pb.HandedOver(
        agent=agent,
        held=[holding_to_proto(each) for each in handed.held],
        left=[holding_to_proto(each) for holdings in handed.to.values() for each in holdings],
        names=names_to_rows({pool: names[pool] for pools in handed.names.values() for pool in pools}),
    )


def handed_from_proto(order: pb.Assignment) -> Handed:
    """Of an order of `added` work. Raises ValueError for what cannot be."""
    told = order.handed_over
    held, left = (tuple(holding_from_proto(each) for each in holdings) for holdings in (told.held, told.left))
    return Handed(told.agent, order.epoch, held, left, names_from_rows(told.names))
