"""Which agents took part in a run, and since when: figures mean what they say only for the time that all were there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sai3tui.events import AbortRequested, AgentState, BarrierReleased, Event, RunFinished, RunStarted, StateChanged
from sai3tui.results.files import utc_text

_AWAY = frozenset({AgentState.LOST, AgentState.FAILED, AgentState.EXCLUDED, AgentState.ABORTED})


@dataclass(frozen=True, slots=True)
class CoverageSpan:
    """An agent took part from `since_ns` to `until_ns` (Unix epoch; 0: it still does). `reason` is why no longer;
    empty: the run was over."""

    agent: str
    since_ns: int
    until_ns: int = 0
    reason: str = ""


class CoverageTrack:
    """All spans of a run. An agent that was left behind and takes part again has several."""

    def __init__(self) -> None:
        self._open: dict[str, CoverageSpan] = {}
        self._closed: list[CoverageSpan] = []
        self._ending = False
        self._to_the_end: list[CoverageSpan] = []

    @property
    def spans(self) -> tuple[CoverageSpan, ...]:
        """By agent, oldest first."""
        return tuple(sorted([*self._closed, *self._open.values()], key=lambda span: (span.agent, span.since_ns)))

    def whole_since(self, since_ns: int) -> frozenset[str]:
        """Agents that have taken part all the time since then, to the end of the run if it is over."""
        spans = (*self._open.values(), *self._to_the_end)
        return frozenset(span.agent for span in spans if span.since_ns <= since_ns)

    def apply(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._begin(event.agents, event.time_ns)
            case BarrierReleased():
                self._begin(event.arrived, event.time_ns)
                for agent in event.missing:
                    self._end(agent, event.time_ns, f"missing at barrier {event.stage_index}")
            case StateChanged() if event.state in _AWAY:
                reason = event.failure.message if event.failure is not None else event.reason
                self._end(event.agent, event.time_ns, reason or event.state.word)
            case AbortRequested():
                # What agents do from now on is what they were told.
                self._ending = True
            case RunFinished():
                self._ending = True
                for agent in tuple(self._open):
                    self._end(agent, event.time_ns, "")
            case _:
                pass

    def _begin(self, agents: Iterable[str], time_ns: int) -> None:
        for agent in agents:
            self._open.setdefault(agent, CoverageSpan(agent, time_ns))

    def _end(self, agent: str, time_ns: int, reason: str) -> None:
        span = self._open.pop(agent, None)
        if span is not None:
            self._closed.append(replace(span, until_ns=time_ns, reason=reason))
            if self._ending:
                self._to_the_end.append(span)


def coverage_json(spans: Iterable[CoverageSpan]) -> list[dict[str, Any]]:
    """For `metadata.json`: times in UTC, `until` null where the agent still took part."""
    return [
        {
            "agent": span.agent,
            "since": utc_text(span.since_ns),
            "until": utc_text(span.until_ns) if span.until_ns else None,
            "reason": span.reason,
        }
        for span in spans
    ]


def coverage_lines(spans: Iterable[CoverageSpan]) -> list[str]:
    """A line for every agent that did not take part to the end; none if all did."""
    known = tuple(spans)
    last = {span.agent: span for span in known}
    broken = {span.agent for span in known if span.reason}
    lines = []
    for span in known:
        if span.agent in broken:
            until = utc_text(span.until_ns) if span.until_ns else "now"
            why = f": {span.reason}" if span.reason else ", to the end"
            again = "" if span is last[span.agent] or not span.reason else "; it came back"
            lines.append(f"{span.agent}: {utc_text(span.since_ns)} to {until}{why}{again}")
    return lines
