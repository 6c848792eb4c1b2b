"""The run log of a live run: every item goes through here once, to the figures, the files and whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sai3tui.clock import now_ns
from sai3tui.controller.clock import ClockEstimate
from sai3tui.controller.fleet import Fleet
from sai3tui.controller.frames import Frames
from sai3tui.controller.lead import Lead
from sai3tui.controller.request import COMPLETE, EXIT_THRESHOLD, THRESHOLD_MISSED, RunRequest
from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.errors import Failure, ResourceError
from sai3tui.events import Level, Note, Report, RunFinished
from sai3tui.results.history import History
from sai3tui.results.metadata import RunMeta
from sai3tui.results.passport import clock_passport, with_clocks
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.tally import Item
from sai3tui.results.views import Outcome
from sai3tui.results.writer import RunWriter

OnItem = Callable[[Item], None]
OnSecond = Callable[[FleetSecond], None]
FLUSH_INTERVAL_S = 1.0


class Journal:
    """Belongs to the session's loop. `snapshot` is immutable and may be read from anywhere. What has happened is in it
    soon; figures are for whoever reads it again and again: they are those of the time it was last read, or that
    something happened. With `keeps_past`, `frames` has one of every second."""

    def __init__(self, config_name: str, *, keeps_past: bool = False) -> None:
        self.fleet = Fleet(config_name)
        self.frames = Frames()
        self.keeps_past = keeps_past
        self._snapshot: RunSnapshot = self.fleet.snapshot(now_ns())
        self._read = False
        self._listeners: list[tuple[OnItem, OnSecond | None]] = []
        self._backlog: list[tuple[Item, list[FleetSecond]]] = []
        self._writer: RunWriter | None = None
        self._keeps = True
        self._told = 0
        self._flushed = 0.0
        self._dirty = True
        """Something has happened, which is to be seen soon."""
        self._grown = False
        """Figures have."""

    @property
    def snapshot(self) -> RunSnapshot:
        self._read = True
        return self._snapshot

    def listen(self, on_item: OnItem, on_second: OnSecond | None = None) -> None:
        """Call `on_item` with every item, `on_second` with every complete second of the fleet."""
        self._listeners.append((on_item, on_second))

    def emit(self, item: Item) -> None:
        closed = self.fleet.apply(item)
        if self._writer is not None:
            self._writer.write(item, closed)
        elif self._keeps:
            self._backlog.append((item, closed))
        for on_item, _ in self._listeners:
            on_item(item)
        self._seconds(closed)
        if isinstance(item, Report):
            self._grown = True
        else:
            self._dirty = True
        self._tell_crossings()

    def note(self, level: Level, text: str, *, agent: str = "", code: str = "") -> None:
        self.emit(Note(now_ns(), agent, level, text, code))

    def heard(self, agent: str, now_ns: int, clock: ClockEstimate) -> None:
        self.fleet.heard(agent, now_ns, clock)
        self._grown = True

    def lost(self, agent: str, failure: Failure) -> None:
        self._late(self.fleet.lost(agent, failure))

    def phase(self, phase: Phase) -> None:
        """Change the phase; seen at once."""
        self.fleet.phase = phase
        self._dirty = True
        self.refresh()

    def open_results(self, request: RunRequest, meta: RunMeta, plan: dict[str, Any]) -> None:
        """From now on all goes to files, what was said before included. Raises ResourceError."""
        writer = RunWriter.create(request.root, meta, self.fleet.tally, request.config_text, plan)
        self._writer = writer
        self.fleet.results_dir = str(writer.directory)
        for item, closed in self._backlog:
            writer.write(item, closed)
        self._backlog.clear()

    def reopen_results(self, directory: Path, meta: RunMeta) -> History:
        """As `open_results`, into a directory that another controller has written; returns what it holds. Raises
        ResourceError if that one still writes."""
        self._writer = RunWriter(directory, meta, self.fleet.tally, reopen=True)
        self.fleet.results_dir = str(directory)
        self._backlog.clear()
        return self._writer.history

    def keep_nothing(self) -> None:
        """This session only watches, from now on: another one writes into the directory."""
        self._keeps = False
        self._backlog.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def led(self, lead: Lead) -> None:
        """Who leads the run that we watch, as far as it is known."""
        before, self.fleet.lead = self.fleet.lead, lead
        if lead.since_ns and (before is None or (before.by, before.since_ns > 0) != (lead.by, True)):
            self.note(Level.INFO, lead.sentence, code="lead")
        self._dirty = True

    def replay(self, item: Item, *, known: bool) -> None:
        """Something that happened before we came; `known`: the run log in the directory has it."""
        closed = self.fleet.apply(item)
        if self._writer is not None:
            self._writer.write(item, closed, known=known)
        self.fleet.judge.take_crossings()
        self._dirty = True

    def part(self, outcome: Outcome) -> Outcome:
        """We leave and the run goes on: files are as after a flush, and say no end."""
        if self._writer is not None:
            outcome = with_results(outcome, str(self._writer.directory), self._writer.problems)
            self._writer.close()
            self._writer = None
        self.fleet.outcome = outcome
        self.phase(Phase.FINISHED)
        return outcome

    def tick(self) -> None:
        """A few times a second: overdue seconds, files flushed once a second, a new snapshot if anything changed that
        somebody looks at, or that is to be kept."""
        at_ns = now_ns()
        self._late(self.fleet.tick(at_ns))
        now = time.monotonic()
        if self._writer is not None and now - self._flushed >= FLUSH_INTERVAL_S:
            self._flushed = now
            self._writer.flush()
            self._tell_problems(self._writer)
        running = self.fleet.phase is Phase.RUNNING
        second = self.keeps_past and self.frames.lacks((at_ns - self.fleet.tally.started_ns) / 1e9)
        wanted = self._read or (running and second)
        if self._dirty or (wanted and (self._grown or running)):
            self.refresh()

    def refresh(self) -> None:
        self._dirty = self._grown = self._read = False
        self._snapshot = self.fleet.snapshot(now_ns())
        if self.keeps_past:
            self.frames.add(self._snapshot)

    def judge(self, outcome: Outcome) -> Outcome:
        """`outcome` by the thresholds, once nothing more is measured. Idempotent."""
        now, fleet = now_ns(), self.fleet
        for stage in fleet.tally.stages.values():
            if stage.live:
                fleet.judge.settle(stage, fleet.coverage_of(stage), now)
        self._tell_crossings()
        return judged(outcome, met=fleet.judge.finish(whole=outcome.status in COMPLETE))

    def over(self, outcome: Outcome) -> None:
        """The run has ended: the last event."""
        self.emit(RunFinished(now_ns(), "", outcome.status, outcome.exit_code, outcome.failure))

    def finish(self, outcome: Outcome) -> Outcome:
        """The end: the last event, the last files, the last snapshot. Returns the outcome with what writing adds."""
        outcome, now, fleet = self.judge(outcome), now_ns(), self.fleet
        self.over(outcome)
        self.phase(Phase.WRITING)
        writer = self._writer
        if writer is not None:
            outcome = with_results(outcome, str(writer.directory), writer.problems)
            clocks = {agent.id: clock_facts(agent.clock) for agent in fleet.agents.values()}
            writer.meta = replace(writer.meta, passport=with_clocks(writer.meta.passport, clocks))
            writer.finish(outcome, now, fleet.judge.views, fleet.baseline_view(fleet.tally.views(now)))
            self._tell_problems(writer)
            outcome = with_results(outcome, str(writer.directory), writer.problems)
            self._writer = None
        self.fleet.outcome = outcome
        self.phase(Phase.FINISHED)
        return outcome

    def close(self) -> None:
        """Whatever happened: files are closed. Idempotent."""
        if self._writer is not None:
            self._writer.close()

    def _late(self, closed: list[FleetSecond]) -> None:
        if closed:
            if self._writer is not None:
                self._writer.seconds(closed)
            self._seconds(closed)
            self._dirty = True
            self._tell_crossings()

    def _tell_crossings(self) -> None:
        for crossed in self.fleet.judge.take_crossings():
            self.emit(crossed)

    def _seconds(self, closed: list[FleetSecond]) -> None:
        for second in closed:
            for _, on_second in self._listeners:
                if on_second is not None:
                    on_second(second)

    def _tell_problems(self, writer: RunWriter) -> None:
        new = writer.problems[self._told :]
        self._told = len(writer.problems)
        for problem in new:
            self.note(Level.ERROR, f"{problem.message}; the run goes on without that file", code="results")


def judged(outcome: Outcome, *, met: bool) -> Outcome:
    """`outcome` of a run that went through all stages, but did not meet its thresholds."""
    if met or outcome.status not in COMPLETE:
        return outcome
    return Outcome(THRESHOLD_MISSED, EXIT_THRESHOLD, None, outcome.results, outcome.resume)


def with_results(outcome: Outcome, directory: str, problems: list[ResourceError]) -> Outcome:
    """`outcome` with its directory; a run whose results could not be kept has failed, even if all else went well."""
    failure, status, code = outcome.failure, outcome.status, outcome.exit_code
    if problems and failure is None and code == 0:
        failure, status, code = problems[0].failure(), "failed", 1
    return Outcome(status, code, failure, directory, outcome.resume)


def clock_facts(clock: ClockEstimate) -> dict[str, Any]:
    """What the passport says of an agent's clock."""
    return clock_passport(clock.offset_ns, clock.uncertainty_ns, clock.drift_ppm, clock.drift_uncertainty_ppm)
