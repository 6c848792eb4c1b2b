"""`{1...8}` and `[01-16]` in endpoints and agents: one entry for many hosts."""

from __future__ import annotations

import re
from itertools import product

from sai3tui.errors import ConfigError

MAX_EXPANDED = 4096

_RANGE = re.compile(r"\{(\d{1,9})\.\.\.(\d{1,9})\}", re.ASCII)
_BRACKETS = re.compile(r"\[(\d{1,9})-(\d{1,9})\]", re.ASCII)


def expand(text: str) -> list[str]:
    """`host{1...3}` as `host1`, `host2`, `host3`; `{01...10}` and `[01-10]` keep their zeros. Several ranges multiply,
    the last one runs fastest. A text without a range is itself. Raises ConfigError for an empty or enormous range."""
    parts = _RANGE.split(_BRACKETS.sub(r"{\1...\2}", text))
    ranges: list[list[str]] = []
    total = 1
    for low, high in zip(parts[1::3], parts[2::3], strict=True):
        first, last = int(low), int(high)
        total *= max(0, last - first + 1)
        if not 0 < total <= MAX_EXPANDED:
            raise ConfigError(f"{text!r} expands to {total:,} entries", hint=f"1 to {MAX_EXPANDED:,} are possible")
        width = len(low) if low.startswith("0") and len(low) > 1 else 0
        ranges.append([f"{number:0{width}d}" for number in range(first, last + 1)])
    literals = parts[0::3]
    return ["".join(_woven(literals, choice)) for choice in product(*ranges)]


def _woven(literals: list[str], choice: tuple[str, ...]) -> list[str]:
    woven = [literals[0]]
    for value, literal in zip(choice, literals[1:], strict=True):
        woven += [value, literal]
    return woven
