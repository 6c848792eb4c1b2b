"""What the operations of an entry choose from, by endpoint."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace

from sai3tui.agent.stages.listing import MAX_LISTED
from sai3tui.workload.drawing import Draw
from sai3tui.workload.patterns import Selection
from sai3tui.workload.rng import splitmix64


def draws_of(selection: Selection, homes: int, like: Draw, keep: Callable[[int], bool] | None) -> tuple[Draw, ...]:
    """What to choose from, otherwise as `like` says: one draw for all endpoints, or one for each of `homes` that have
    objects of their own. `keep` leaves out indices where not all of a set are meant."""
    count = len(selection)
    if selection.covers_all:
        return tuple(replace(like, first=home, step=homes, count=-(-(count - home) // homes)) for home in range(homes))
    if count <= MAX_LISTED:
        indices = [selection.nth(place) for place in range(count)]
    else:
        # Too many to name: a sample of them stands for all.
        indices = sorted(selection.draw(splitmix64(number)) for number in range(MAX_LISTED // 10))
    if keep is not None:
        indices = [index for index in indices if keep(index)]
    parts = [array("Q", [index for index in indices if index % homes == home]) for home in range(homes)]
    return tuple(replace(like, count=len(part), listed=part.tobytes(), halves=0) for part in parts)
