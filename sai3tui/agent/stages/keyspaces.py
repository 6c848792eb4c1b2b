"""What operations of a mix that are about a directory choose from, as a `KeySpace`."""

from __future__ import annotations

from dataclasses import dataclass


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
