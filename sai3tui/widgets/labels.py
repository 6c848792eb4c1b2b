"""Which labels of an axis fit without touching each other: the weightiest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """`text` would stand in the cells from `start` on; `weight` says how much it is wanted."""

    start: int
    text: str
    weight: float

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def placed(labels: Iterable[Label], width: int, gap: int = 1) -> list[Label]:
    """The labels that fit into `width` cells, at least `gap` cells apart, from left to right."""
    kept: list[Label] = []
    for label in sorted(labels, key=lambda each: -each.weight):
        inside = label.start >= 0 and label.end <= width
        if inside and all(label.end + gap <= other.start or other.end + gap <= label.start for other in kept):
            kept.append(label)
    return sorted(kept, key=lambda each: each.start)
