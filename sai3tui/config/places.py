"""Where something stands in a configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the file, from 1; line 0 means nowhere in particular."""

    line: int = 0
    column: int = 0


NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Placed:
    """A text and where it stands."""

    text: str
    at: Position = field(default=NOWHERE, compare=False)
