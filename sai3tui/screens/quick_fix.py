"""What "did you mean" offers, put in place of what was written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sai3tui.config.problems import Problem

_OFFER = re.compile(r"did you mean '([^']+)'\?")
_WORD = re.compile(r"""["']?([^\s#,:{}\[\]"']+)["']?""")


@dataclass(frozen=True, slots=True)
class Fix:
    """Replace the characters from `start` to `end` (from 0) of line `line` (from 0) by `text`."""

    line: int
    start: int
    end: int
    text: str


def fix_of(problem: Problem, text: str) -> Fix | None:
    """The replacement that a problem offers; None if it offers none, or if `text` has no word there (any more)."""
    offer = _OFFER.search(problem.hint)
    lines = text.split("\n")
    if offer is None or not 0 < problem.line <= len(lines):
        return None
    word = _WORD.match(lines[problem.line - 1], max(0, problem.column - 1))
    if word is None:
        return None
    return Fix(problem.line - 1, *word.span(1), offer[1])
