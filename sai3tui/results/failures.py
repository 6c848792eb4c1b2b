"""Failures grouped by cause, so that ten thousand of one kind are one line."""

from __future__ import annotations

from collections.abc import Iterable

from sai3tui.errors import ErrorKind, Failure
from sai3tui.results.views import FailureGroup

MOST_GROUPS = 200

Cause = tuple[ErrorKind, str, str, str, int, str]
_OTHER: Cause = (ErrorKind.INTERNAL, "", "", "", 0, "")


class FailureGroups:
    """Counts failures by kind, operation, endpoint, sub-class, status and message (without the object's name)."""

    def __init__(self) -> None:
        self._groups: dict[Cause, FailureGroup] = {}

    def add(self, failure: Failure, count: int, agent: str, time_ns: int) -> None:
        """Count `count` failures like `failure`. Beyond `MOST_GROUPS` causes, further ones share one group."""
        key = cause_of(failure)
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = _OTHER
            failure = Failure(ErrorKind.INTERNAL, f"further failures of more than {MOST_GROUPS} causes")
        known = self._groups.get(key)
        if known is None:
            agents: tuple[str, ...] = (agent,) if agent else ()
            self._groups[key] = FailureGroup(failure, count, agents, time_ns, time_ns)
            return
        agents = known.agents if agent in known.agents or not agent else (*known.agents, agent)
        self._groups[key] = FailureGroup(
            known.sample,
            known.count + count,
            agents,
            min(known.first_ns, time_ns),
            max(known.last_ns, time_ns),
        )

    def __contains__(self, failure: Failure) -> bool:
        return cause_of(failure) in self._groups

    def groups(self) -> tuple[FailureGroup, ...]:
        """All groups, the largest first."""
        return tuple(sorted(self._groups.values(), key=lambda group: (-group.count, group.first_ns)))


def cause_of(failure: Failure) -> Cause:
    """What failures of one cause have in common."""
    c = failure.context
    return failure.kind, c.op, c.endpoint, c.subclass, c.http_status, _without(failure.message, (c.uri, c.request_id))


def _without(text: str, parts: Iterable[str]) -> str:
    for part in parts:
        if part:
            text = text.replace(part, "…")
    return text
