"""Names that PUTs of execute stages have taken: how far, and which below that were never used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NamePool:
    """The names that the PUTs of one workload entry make in one slot: sequence 0.. below `prefix`. `stage` is any
    number that tells stages and entries apart. Sequence number q is at home at endpoint q mod `homes`, which is 1
    where any endpoint serves any object. `directories`: of directories that MKDIR made."""

    prefix: str
    seed: int
    stage: int
    slot: int
    shards: int = 0
    homes: int = 1
    directories: bool = False

    def digest(self) -> bytes:
        """32 bytes that name the pool."""
        fields = asdict(self)
        if not self.directories:
            # As it was before there were any, so that what is on disk is found.
            del fields["directories"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()


@dataclass(frozen=True, slots=True)
class Span:
    """The names home + j * homes of a pool, j from `first` to first + count - 1."""

    home: int
    first: int
    count: int

    @property
    def end(self) -> int:
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class NamesTaken:
    """Of each home endpoint, how many names from its first one on were given out, and which of these were not used."""

    counts: tuple[int, ...]
    unused: tuple[Span, ...] = ()

    @property
    def total(self) -> int:
        """Names that were used, whether or not their PUT succeeded."""
        return sum(self.counts) - sum(span.count for span in self.unused)

    def used(self, home: int) -> list[Span]:
        """The names of an endpoint that were used, in order."""
        found = []
        begin = 0
        gaps = sorted((span.first, span.end) for span in self.unused if span.home == home)
        for first, end in [*gaps, (self.counts[home], self.counts[home])]:
            if first > begin:
                found.append(Span(home, begin, first - begin))
            begin = max(begin, end)
        return found

    def trimmed(self) -> NamesTaken:
        """The same with neighbouring unused spans as one, and none at the end."""
        counts = list(self.counts)
        kept: list[Span] = []
        for home in range(len(counts)):
            spans: list[Span] = []
            for span in sorted((each for each in self.unused if each.home == home), key=lambda each: each.first):
                if spans and spans[-1].end == span.first:
                    before = spans.pop()
                    spans.append(Span(home, before.first, before.count + span.count))
                else:
                    spans.append(span)
            if spans and spans[-1].end >= counts[home]:
                counts[home] = spans.pop().first
            kept += spans
        return NamesTaken(tuple(counts), tuple(kept))


NO_NAMES = NamesTaken(())
"""The objects of a pool are deleted, and it is forgotten."""


def names_to_json(pool: NamePool, taken: NamesTaken) -> bytes:
    """One row of the state cache."""
    unused = [[span.home, span.first, span.count] for span in taken.unused]
    return json.dumps({"pool": asdict(pool), "taken": list(taken.counts), "unused": unused}).encode()


def names_from_json(row: bytes) -> tuple[NamePool, NamesTaken]:
    """The reverse of `names_to_json`; a row of an older version has one number. Raises ValueError."""
    try:
        document: dict[str, Any] = json.loads(row)
        pool = NamePool(**document["pool"])
        counts = document["taken"]
        counts = tuple(counts) if isinstance(counts, list) else (counts,)
        return pool, NamesTaken(counts, tuple(Span(*span) for span in document.get("unused", ())))
    except (TypeError, KeyError) as error:
        raise ValueError(f"no row of names: {row[:100]!r}") from error
