"""What the operations of a mix choose from, as `KeySpace`s: listed objects, single directories."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects that were found by a listing."""

    objects: tuple[tuple[str, int], ...]

    def key(self, index: int) -> str:
        return self.objects[index][0]

    def size(self, index: int) -> int:
        return self.objects[index][1]


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory, for LIST and its like."""

    prefix: str

    def key(self, index: int) -> str:
        del index
        return self.prefix

    def size(self, index: int) -> int:
        del index
        return 0
