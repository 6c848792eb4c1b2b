"""Whether an operation's pattern finds any object of a set: exact as long as that is cheap."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sai3tui.config.model import DirectoryStructure, Distribution
from sai3tui.config.patterns import NUMBER, compile_pattern, matches_all, may_match
from sai3tui.config.resolved import ResolvedSet

MAX_LOOKS = 3_000
MAX_KEYS = 20_000


@dataclass(slots=True)
class _Search:
    """Descends a tree, into those directories only whose keys could match. Gives up, with yes, after `MAX_LOOKS`."""

    pattern: str
    made: ResolvedSet
    tree: DirectoryStructure
    names: list[str] = field(init=False)
    regex: re.Pattern[str] = field(init=False)
    looks: int = 0
    keys: int = 0

    def __post_init__(self) -> None:
        levels = range(1, self.tree.depth + 1)
        self.names = [self.tree.dir_mask.replace("%d", str(level), 1) for level in levels]
        self.regex = compile_pattern(self.pattern)

    def found(self) -> bool:
        first = self.tree.depth if self.tree.distribution is Distribution.BOTTOM else 1
        return any(self._descend(levels, 0, self.made.prefix, 0) for levels in range(first, self.tree.depth + 1))

    def _descend(self, levels: int, depth: int, path: str, place: int) -> bool:
        """Whether a directory on level `levels` below `path`, which is on level `depth`, holds a match."""
        self.looks += 1
        if self.looks > MAX_LOOKS:
            return True
        rest = "".join(f"{name.replace('%d', NUMBER, 1)}/" for name in self.names[depth:levels])
        if not may_match(self.pattern, f"{path}{rest}file_{NUMBER}.dat"):
            return False
        if depth == levels:
            return self._look_into(levels, path, place)
        width = self.tree.width
        return any(
            self._descend(
                levels,
                depth + 1,
                f"{path}{self.names[depth].replace('%d', str(local + 1), 1)}/",
                place * width + local,
            )
            for local in range(width)
        )

    def _look_into(self, level: int, path: str, place: int) -> bool:
        above = 0
        if self.tree.distribution is Distribution.ALL:
            above = sum(self.tree.width**higher for higher in range(1, level))
        first = (above + place) * self.tree.files_per_dir
        for index in range(first, first + self.tree.files_per_dir):
            self.keys += 1
            if self.keys > MAX_KEYS or self.regex.fullmatch(f"{path}file_{index:08d}.dat"):
                return True
        return False


def finds_any(pattern: str, made: ResolvedSet) -> bool:
    """Whether `pattern` matches a key of the set. Never wrongly no; wrongly yes only for unusual patterns over large
    sets, where looking through them would take too long."""
    templates = made.templates()
    if not any(may_match(pattern, template) for template in templates):
        return False
    if any(matches_all(pattern, template) for template in templates):
        return True
    if made.tree is not None:
        return _Search(pattern, made, made.tree).found()
    regex = compile_pattern(pattern)
    if made.count > MAX_KEYS:
        return True
    return any(regex.fullmatch(_pool_key(made, index)) for index in range(made.count))


def _pool_key(made: ResolvedSet, index: int) -> str:
    shard = f"{index % made.shards:02x}/" if made.shards else ""
    return f"{made.prefix}{shard}{made.kind.value}-{index:08d}.dat"
