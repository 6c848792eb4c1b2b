"""The past of a run, as snapshots: what a screen shows that is scrubbed back, live or long after the run.

Frames are kept one a second. A run's room is bounded by agents times frames; when it is full, the older three quarters
lose every second frame, so that what is recent stays fine and the beginning is never forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sai3tui.controller.snapshot import AgentView, LogLine, RunSnapshot, Series
from sai3tui.events import Report
from sai3tui.results.tally import Item

AGENT_FRAMES = 15_000
"""How many views of agents are kept in all; one takes one to three KiB."""
LEAST_FRAMES = 120
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AgentSeries(Series):
    """One agent over time."""

    cpu_pct: tuple[float, ...] = ()


class Frames:
    """Written by one thread, read by any: what is published is immutable."""

    def __init__(self, agent_frames: int = AGENT_FRAMES) -> None:
        self._room = agent_frames
        self._frames: tuple[RunSnapshot, ...] = ()
        self._times: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, snapshot: RunSnapshot) -> None:
        """Keep this one if it begins another second of the run. Times that go backwards are not kept."""
        if not snapshot.started_ns or not self.lacks(snapshot.elapsed_s):
            return
        # Curves and events are cut out of the latest snapshot: kept here they would be kept many times.
        frames = (*self._frames, replace(snapshot, series=Series(), log=(), findings=()))
        most = max(LEAST_FRAMES, self._room // max(1, len(snapshot.agents)))
        if len(frames) > most:
            old = len(frames) * 3 // 4
            frames = frames[:old:2] + frames[old:]
        self._frames, self._times = frames, tuple(frame.elapsed_s for frame in frames)

    def lacks(self, elapsed_s: float) -> bool:
        """Whether that is another second of the run than those that are kept."""
        return not self._times or int(elapsed_s) > int(self._times[-1])

    @property
    def span(self) -> tuple[float, float]:
        """Seconds of the first and the last frame; zeros if there is none."""
        times = self._times
        return (times[0], times[-1]) if times else (0.0, 0.0)

    def at(self, seconds: float, latest: RunSnapshot) -> RunSnapshot:
        """The run as it was `seconds` after its start; `latest` if that is not known."""
        frames, times = self._frames, self._times
        if not frames or len(frames) != len(times):
            return latest
        frame = frames[max(0, bisect_right(times, seconds) - 1)]
        log = lines_until(latest.log, frame.started_ns + int(frame.elapsed_s * 1e9))
        return replace(
            frame, series=latest.series.until(frame.elapsed_s), log=log, log_total=len(log), findings=latest.findings
        )

    def agent_series(self, agent_id: str, until_s: float = float("inf")) -> AgentSeries:
        """The figures of one agent in all frames up to a time."""
        rows: list[tuple[float, float, float, float, float, float, int, float, float]] = []
        for frame in self._frames:
            if frame.elapsed_s > until_s:
                break
            agent = next((each for each in frame.agents if each.id == agent_id), None)
            if agent is not None:
                rows.append(_agent_row(frame, agent))
        if not rows:
            return AgentSeries()
        at, get, put, ops, p50, p99, stage, scheduled, cpu = zip(*rows, strict=True)
        return AgentSeries(at, get, put, ops, p50, p99, stage, scheduled, cpu)


class Film:
    """Makes frames of a run log that is read again: one every `step_ns` nanoseconds of the run."""

    def __init__(self, frames: Frames, step_ns: int = SECOND_NS) -> None:
        self._frames = frames
        self._step_ns = step_ns
        self._now_ns = self._next_ns = 0

    def at(self, time_ns: int, started_ns: int, picture: Callable[[int], RunSnapshot]) -> None:
        """The log has been read up to an item of `time_ns`; the run began at `started_ns` (0: not yet). `picture` is
        how it looks at a time."""
        self._now_ns = max(self._now_ns, time_ns)
        if started_ns and self._now_ns >= self._next_ns:
            self._frames.add(picture(self._now_ns))
            self._next_ns = started_ns + ((self._now_ns - started_ns) // self._step_ns + 1) * self._step_ns


def _agent_row(
    frame: RunSnapshot, agent: AgentView
) -> tuple[float, float, float, float, float, float, int, float, float]:
    rates, vitals = agent.rates, agent.vitals
    return (
        frame.elapsed_s,
        rates.get_bytes,
        rates.put_bytes,
        rates.ops,
        max(rates.get_p50_us, rates.put_p50_us, rates.meta_p50_us),
        rates.p99_us,
        frame.stage_index,
        rates.scheduled_p99_us,
        vitals.cpu_user_pct + vitals.cpu_system_pct,
    )


def lines_until(log: Sequence[LogLine], time_ns: int) -> tuple[LogLine, ...]:
    """The lines up to a moment, in their order; clocks may have gone backwards in between."""
    end = len(log)
    while end and log[end - 1].time_ns > time_ns:
        end -= 1
    return tuple(log[:end])


def time_of(item: Item) -> int:
    """When something happened, or was measured up to, in nanoseconds."""
    return item.end_ns if isinstance(item, Report) else item.time_ns
