"""What is wrong with a configuration file, and where: a value, so that all problems can be shown at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sai3tui.config.model import NOWHERE, Position


class Level(StrEnum):
    """ERROR: the file cannot be run. WARNING: probably not what was meant. NOTICE: what was assumed."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to know about a file. `code` is a stable word for programs, `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    level: Level
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}:{self.line}:{self.column}: {self.level}: {self.message}{hint}"

    def to_json(self) -> dict[str, object]:
        return {
            "line": self.line,
            "column": self.column,
            "level": self.level.value,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class ProblemList:
    """Collects problems of one file, in the order found; equal ones are kept once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._found: dict[Problem, None] = {}
        self._noticed: set[str] = set()

    def error(self, at: Position, code: str, message: str, hint: str = "") -> None:
        self._add(at, Level.ERROR, code, message, hint)

    def warning(self, at: Position, code: str, message: str, hint: str = "") -> None:
        self._add(at, Level.WARNING, code, message, hint)

    def notice(self, at: Position, code: str, message: str, hint: str = "") -> None:
        self._add(at, Level.NOTICE, code, message, hint)

    def notice_once(self, what: str, at: Position, code: str, message: str, hint: str = "") -> None:
        """A notice that is given once for each `what`, however often it would be due."""
        if what not in self._noticed:
            self._noticed.add(what)
            self.notice(at, code, message, hint)

    def extend(self, problems: Iterable[Problem]) -> None:
        self._found.update(dict.fromkeys(problems))

    @property
    def has_errors(self) -> bool:
        return has_errors(self._found)

    def sorted(self) -> tuple[Problem, ...]:
        """All problems by place in the file."""
        return tuple(sorted(self._found, key=lambda p: (p.line, p.column)))

    def _add(self, at: Position, level: Level, code: str, message: str, hint: str) -> None:
        place = at if at != NOWHERE else Position(1, 1)
        self._found[Problem(self.path, place.line, place.column, level, code, message, hint)] = None


def has_errors(problems: Iterable[Problem]) -> bool:
    return any(problem.level is Level.ERROR for problem in problems)
