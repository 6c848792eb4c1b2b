"""What the data plane needs to know about a set of objects: names and sizes as functions of the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sai3tui.workload.names import new_name
from sai3tui.workload.sizes import Sizes


class KeySpace(Protocol):
    """Objects (or directories, for LIST) by index. Implementations are immutable, small and picklable: a worker
    process gets one of its own. Keys are relative to the endpoint's prefix, sizes are bytes."""

    def key(self, index: int) -> str: ...

    def size(self, index: int) -> int: ...


@dataclass(frozen=True, slots=True)
class NewObjects:
    """What execute PUTs under new names: object index = slot + sequence * slots."""

    prefix: str
    sizes: Sizes
    seed: int
    stage: int
    slots: int
    shards: int = 0

    def key(self, index: int) -> str:
        sequence, slot = divmod(index, self.slots)
        return self.prefix + new_name(self.seed, self.stage, slot, sequence, self.shards)

    def size(self, index: int) -> int:
        return self.sizes.size(index)


@dataclass(frozen=True, slots=True)
class OneKey:
    """A single key, such as the directory that LIST operations name. Every index means it."""

    name: str

    def key(self, index: int) -> str:
        return self.name

    def size(self, index: int) -> int:
        return 0
