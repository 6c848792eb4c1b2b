"""The time machine: a finished run, made into frames out of its run log by the same reducers as when it was live."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.controller.clock import ClockEstimate
from sai3tui.controller.fleet import Fleet, LiveAgent
from sai3tui.controller.frames import Film, Frames, time_of
from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.events import AgentConnected, Report
from sai3tui.results.doubts import EDITED
from sai3tui.results.reader import read_items, read_run_metadata
from sai3tui.results.record_file import Condition
from sai3tui.results.views import Outcome


@dataclass(frozen=True, slots=True)
class Replay:
    """A run that is over: its last snapshot, with all of its events and curves, and the frames that led there."""

    last: RunSnapshot
    past: Frames

    def snapshot(self) -> RunSnapshot:
        return self.last

    @property
    def frames(self) -> Frames:
        return self.past

    @property
    def failure(self) -> BaseException | None:
        return None


def load_replay(path: Path) -> Replay:
    """Read the run log of a results directory. Raises Sai3Error if it is not a run's, or says nothing of it."""
    read = read_run_metadata(path)
    meta = read.meta
    fleet = Fleet(meta.config_name)
    agents = tuple(
        LiveAgent(a.id, a.address, a.concurrency, version=a.version, hostname=a.hostname, cores=a.cores)
        for a in meta.agents
    )
    fleet.plan(meta.run_id, meta.stages, agents, series_seconds=None, log_lines=None)
    fleet.results_dir, fleet.phase = str(path), Phase.RUNNING
    fleet.notices = meta.notices
    frames = Frames()
    film = Film(frames)
    condition = Condition()
    now_ns = 0
    for item in read_items(path, condition=condition):
        now_ns = max(now_ns, time_of(item))
        fleet.apply(item)
        if isinstance(item, Report):
            fleet.heard(item.agent, item.end_ns)
        elif isinstance(item, AgentConnected):
            clock = ClockEstimate(item.clock_offset_ns, item.clock_uncertainty_ns)
            fleet.heard(item.agent, item.time_ns, clock)
        film.at(now_ns, fleet.tally.started_ns, fleet.snapshot)
    damage = [*condition.damage, *([EDITED] if read.edited else [])]
    fleet.notices = (*meta.notices, *(f"the run log is damaged: {text}" for text in damage))
    last = fleet.snapshot(read.ended_ns or now_ns)
    if not len(frames):
        raise Sai3Error(
            f"{path} has no run log that could be played",
            hint="runs of this program keep events.jsonl and metrics.zst; this directory lacks them",
            kind=ErrorKind.RESOURCE,
        )
    outcome = replace(read.outcome or Outcome("unfinished", 1), results=str(path))
    return Replay(replace(last, outcome=outcome, phase=Phase.FINISHED), frames)
