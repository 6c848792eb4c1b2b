"""Events in words: the lines of the events pane, of `--batch` and of a finished run's log."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.config.units import format_count
from sai3tui.errors import Failure
from sai3tui.events import (
    AbortRequested,
    AgentConnected,
    AgentState,
    Attached,
    BarrierArrived,
    BarrierReleased,
    Detached,
    Event,
    FailureSeen,
    Finding,
    Level,
    Note,
    PutTwice,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    StateChanged,
    Steered,
    ThresholdCrossed,
    WorkHandedOver,
)
from sai3tui.results.failures import Cause, cause_of
from sai3tui.results.views import LogLine

REPEAT_NS = 5_000_000_000
_QUIET_STATES = frozenset(
    {
        AgentState.IDLE,
        AgentState.RUNNING,
        AgentState.AT_BARRIER,
        AgentState.COMPLETED,
        AgentState.VALIDATING,
        AgentState.ABORTING,
        # Whoever leads the run says so, and why.
        AgentState.EXCLUDED,
    }
)


class Narrator:
    """`log_line` for a whole run: what an agent sees failing again and again is told every few seconds, with its
    count. What never became a run, such as an invalid file, does not finish either."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, Cause], tuple[int, int]] = {}
        self._started = False

    def line(self, event: Event) -> LogLine | None:
        if isinstance(event, RunStarted):
            self._started = True
        elif isinstance(event, RunFinished) and not self._started:
            return None
        if not isinstance(event, FailureSeen):
            return log_line(event)
        key = (event.agent, cause_of(event.sample))
        since, untold = self._told.get(key, (event.time_ns - REPEAT_NS, 0))
        count = untold + event.count
        if event.time_ns - since < REPEAT_NS:
            self._told[key] = (since, count)
            return None
        self._told[key] = (event.time_ns, 0)
        return log_line(replace(event, count=count))


def log_line(event: Event) -> LogLine | None:
    """What to say about an event; None for those that other lines already tell."""
    told = _tell(event)
    return LogLine(event.time_ns, told[0], event.agent, told[1]) if told else None


def failure_lines(failure: Failure) -> list[str]:
    """A failure for people: what, why, where, what to do; one fact a line."""
    lines = [failure.message]
    lines += [f"because: {cause}" for cause in failure.causes]
    c = failure.context
    where = [
        f"{word} {value}"
        for word, value in (
            ("agent", c.agent),
            ("stage", c.stage),
            ("operation", c.op),
            ("URI", c.uri),
            ("endpoint", c.endpoint),
            ("object", str(c.object_index) if c.object_index >= 0 else ""),
            ("HTTP status", str(c.http_status) if c.http_status else ""),
            ("request id", c.request_id),
        )
        if value
    ]
    if where:
        lines.append("where: " + ", ".join(where))
    lines.append(f"hint: {failure.what_next}")
    return lines


def _tell(event: Event) -> tuple[Level, str] | None:
    match event:
        case RunStarted():
            count = len(event.agents)
            plural = "" if count == 1 else "s"
            skipped = "" if event.preflight else ", preflight skipped"
            return Level.INFO, f"run {event.run_id} of {event.config_name} on {count} agent{plural}{skipped}"
        case AgentConnected():
            return (
                Level.INFO,
                f"connected to {event.address}: {event.hostname}, {event.cores} cores, "
                f"sai3tui {event.package_version}, clock {-event.clock_offset_ns / 1e6:+.1f} ms",
            )
        case StageStarted():
            return Level.INFO, f"stage {event.stage_index} {event.stage_name} started"
        case BarrierArrived():
            return _tell_arrival(event)
        case BarrierReleased():
            who = f"{len(event.arrived)} arrived"
            if event.missing:
                who += f", without {', '.join(event.missing)}"
            level = Level.WARNING if event.missing else Level.INFO
            return level, f"barrier {event.stage_index} released: {event.reason or who}"
        case StageFinished():
            if event.failure is not None:
                return Level.ERROR, f"stage {event.stage_index} {event.stage_name} failed"
            return Level.INFO, f"stage {event.stage_index} {event.stage_name} finished"
        case WorkHandedOver():
            text = f"left {format_count(event.objects)} objects of stage {event.stage_index} to be done"
            if event.to:
                return Level.WARNING, f"{text}: they go to {', '.join(event.to)}"
            return Level.WARNING, f"{text}: the run goes on without them"
        case PutTwice():
            text = f"{format_count(event.count)} objects were written twice: by this agent, which counted as lost"
            return Level.WARNING, f"{text}, and by those who had got its work"
        case FailureSeen():
            return Level.ERROR, f"{event.count} x {_where(event.sample)}{event.sample.sentence()}"
        case Note():
            return event.level, event.text
        case ThresholdCrossed():
            level = Level.INFO if event.met else Level.WARNING
            return level, f"threshold {'met again' if event.met else 'missed'}: {event.text}"
        case Attached():
            return Level.INFO, f"{event.controller} leads the run from here on"
        case Detached():
            reason = f" ({event.reason})" if event.reason else ""
            return Level.INFO, f"the controller has left{reason}; agents go on to the next barrier"
        case Steered():
            subject = f" {event.subject}" if event.subject else ""
            seconds = f" by {event.seconds:g} s" if event.seconds else ""
            return Level.WARNING, f"asked for: {event.command}{subject}{seconds}"
        case AbortRequested():
            return Level.WARNING, f"aborting: {event.reason}"
        case RunFinished():
            level = Level.INFO if event.exit_code == 0 else Level.ERROR
            return level, f"run finished: {event.status.replace('_', ' ')}, exit code {event.exit_code}"
        case Finding():
            if event.level < Level.WARNING:
                return None
            subject = f" {event.subject}" if event.subject else ""
            return event.level, f"preflight {event.check}{subject}: {event.message}"
        case StateChanged():
            if event.failure is not None:
                # The causes stand at the end, with all that is known: here it is about when and who.
                return Level.ERROR, f"{event.state.word}: {event.failure.message}"
            if event.state in _QUIET_STATES:
                return None
            reason = f": {event.reason}" if event.reason else ""
            return Level.WARNING, f"{event.state.word}{reason}"
        case _:
            return None


def _tell_arrival(event: BarrierArrived) -> tuple[Level, str]:
    if event.summary is None:
        return Level.INFO, "ready" if event.stage_index == 0 else f"at barrier {event.stage_index}"
    s = event.summary
    # Read back from the run log, a summary has no statistics of operations: these are in the reports.
    ops = f"{sum(stats.ops for stats in s.ops)} operations, " if s.ops else ""
    text = f"stage {s.stage_index} {s.stage_name} done in {s.seconds:.2f} s: {ops}{s.errors} errors"
    if s.objects.existed:
        text += f", {s.objects.existed} objects existed"
    if s.client_limited_reason:
        text += f"; limited by the load generator, not the storage: {s.client_limited_reason}"
    if s.failure is not None:
        return Level.ERROR, f"stage {s.stage_index} {s.stage_name} failed, but is optional: {s.failure.sentence()}"
    return (Level.WARNING if s.errors else Level.INFO), text


def _where(failure: Failure) -> str:
    c = failure.context
    if (c.uri or c.endpoint) in failure.message:
        return ""
    parts = [part for part in (c.op.upper(), c.uri or c.endpoint) if part]
    return f"{' '.join(parts)}: " if parts else ""
