"""How `--batch` prints: lines for logs, JSON for programs, and the words both end with."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TextIO

from sai3tui.controller.snapshot import Outcome, RunSnapshot
from sai3tui.errors import printable
from sai3tui.events import Event, Finding, LeaderTold, Level, Report, StageFinished, event_json
from sai3tui.results.baseline import difference_lines
from sai3tui.results.describe import Narrator
from sai3tui.results.figures import MIB
from sai3tui.results.files import utc_text
from sai3tui.results.json_text import json_text
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.status import stage_notes, stage_table
from sai3tui.results.tally import Item
from sai3tui.results.threshold_text import threshold_table
from sai3tui.results.views import LogLine, StageStatus, StageView

PROGRESS_INTERVAL_S = 10.0


class Printer(Protocol):
    """Prints a run. Nothing it does may raise: it is called from the middle of the run."""

    on_closed: Callable[[], None]

    def item(self, item: Item) -> None: ...
    def second(self, second: FleetSecond) -> None: ...
    async def watch(self, snapshot: Callable[[], RunSnapshot]) -> None:
        """Runs beside the run, until it is cancelled."""

    def close(self) -> None: ...


def nothing() -> None:
    """For those who do not care."""


class SafeStream:
    """Lines to a stream that may be closed by whoever read it: then `on_closed` is called, once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self.on_closed: Callable[[], None] = nothing

    def line(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            discard(self._stream)
            self._stream = None
            self.on_closed()


def discard(stream: TextIO) -> None:
    """Nobody reads a stream any more: let what it still holds go nowhere, or the interpreter fails to write it at its
    end and exits with a code of its own."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


class LinePrinter:
    """One line an event, with UTC time, and now and then how far a stage is. `only`: nothing less grave than this."""

    def __init__(self, stream: TextIO, only: Level = Level.OK) -> None:
        self._out = SafeStream(stream)
        self._only = only
        self._narrator = Narrator()
        self._finished = -1
        """The stage that was last said to be finished: a snapshot may still have it running."""
        self.on_closed = nothing

    def item(self, item: Item) -> None:
        if isinstance(item, StageFinished):
            self._finished = item.stage_index
        line = None if isinstance(item, Report) else self._narrator.line(item)
        if line is not None and line.level >= self._only:
            self._out.line(plain_line(line))

    def second(self, second: FleetSecond) -> None:
        """Progress comes from `watch`, at its own pace."""

    async def watch(self, snapshot: Callable[[], RunSnapshot]) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            now = snapshot()
            stage = running_stage(now)
            if stage is not None and stage.index > self._finished and self._only is Level.OK:
                time_ns = now.started_ns + int(now.elapsed_s * 1e9)
                self._out.line(plain_line(LogLine(time_ns, Level.INFO, "", progress_text(stage, now))))

    def close(self) -> None:
        """Nothing is held back."""


class JsonPrinter:
    """Every event, and every second of the fleet, as a JSON object on a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._out = SafeStream(stream)

    @property
    def on_closed(self) -> Callable[[], None]:
        return self._out.on_closed

    @on_closed.setter
    def on_closed(self, action: Callable[[], None]) -> None:
        self._out.on_closed = action

    def item(self, item: Item) -> None:
        # What we said ourselves stands here already.
        if isinstance(item, Event) and not isinstance(item, LeaderTold):
            self._write({**event_json(item), "time": utc_text(item.time_ns)})

    def second(self, second: FleetSecond) -> None:
        self._write(second_json(second))

    async def watch(self, snapshot: Callable[[], RunSnapshot]) -> None:
        """Everything is told as it happens."""

    def close(self) -> None:
        """Nothing is held back."""

    def _write(self, document: dict[str, Any]) -> None:
        self._out.line(json_text(document))


def second_json(second: FleetSecond) -> dict[str, Any]:
    """One second of all agents; counts are exact, rates per second, latencies in µs."""
    rates = second.rates
    return {
        "type": "interval",
        "time": utc_text(second.end_ns),
        "stage_index": second.stage_index,
        "seconds": round(second.seconds, 6),
        "agents": len(second.covered_ns),
        "ops": second.ops.ops,
        "bytes": second.ops.bytes,
        "errors": second.ops.errors,
        "ops_per_s": round(rates.ops, 3),
        "get_ops_per_s": round(rates.get_ops, 3),
        "get_mib_per_s": round(rates.get_bytes / MIB, 3),
        "get_p50_us": round(rates.get_p50_us, 1),
        "get_p99_us": round(rates.get_p99_us, 1),
        "put_ops_per_s": round(rates.put_ops, 3),
        "put_mib_per_s": round(rates.put_bytes / MIB, 3),
        "put_p50_us": round(rates.put_p50_us, 1),
        "put_p99_us": round(rates.put_p99_us, 1),
        "meta_ops_per_s": round(rates.meta_ops, 3),
        "meta_p50_us": round(rates.meta_p50_us, 1),
        "meta_p99_us": round(rates.meta_p99_us, 1),
        "warmup": second.warmup,
    }


def plain_line(line: LogLine) -> str:
    agent = f"{line.agent}: " if line.agent else ""
    return f"{utc_text(line.time_ns)} {line.level.word.upper():<7} {agent}{printable(line.text)}"


def running_stage(snapshot: RunSnapshot) -> StageView | None:
    live = (StageStatus.RUNNING, StageStatus.AT_BARRIER)
    return next((stage for stage in snapshot.stages if stage.status in live), None)


def progress_text(stage: StageView, snapshot: RunSnapshot) -> str:
    """How far a stage is and how fast it goes."""
    text = f"stage {stage.index} {stage.name}: "
    if stage.status is StageStatus.AT_BARRIER and stage.waiting_for:
        return text + f"at the barrier for {stage.waiting_s:.0f} s, waiting for {', '.join(stage.waiting_for)}"
    if stage.duration_s:
        text += f"{min(stage.elapsed_s, stage.duration_s):.0f} of {stage.duration_s:.0f} s"
    elif stage.planned:
        text += f"{stage.done} of {stage.planned} objects"
    else:
        text += f"{stage.elapsed_s:.0f} s"
    return f"{text}, {rates_text(snapshot)}, {stage.errors} errors"


def rates_text(snapshot: RunSnapshot) -> str:
    rates = snapshot.fleet
    return f"{rates.ops:.0f} ops/s, {(rates.get_bytes + rates.put_bytes) / MIB:.1f} MiB/s"


def summary_lines(snapshot: RunSnapshot, outcome: Outcome) -> list[str]:
    """What was done, stage by stage, and where it is written down."""
    status = outcome.status.replace("_", " ")
    lines = [
        f"run {snapshot.run_id}: {status} after {snapshot.elapsed_s:.1f} s, exit code {outcome.exit_code}",
        "",
        *stage_table(snapshot.stages),
        *stage_notes(snapshot.stages),
        *(["", *threshold_table(snapshot.thresholds)] if snapshot.thresholds else []),
    ]
    if snapshot.baseline is not None:
        lines += ["", *difference_lines(snapshot.baseline)]
    if snapshot.coverage < 1:
        lines += ["", f"coverage: {snapshot.coverage:.0%} of the agents"]
    if outcome.results:
        lines += ["", f"results: {outcome.results}"]
    return lines


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Preflight for people: the checks of each agent, in the order made."""
    lines = []
    for finding in findings:
        subject = f" {finding.subject}" if finding.subject else ""
        took = f" ({finding.took_ms:.0f} ms)" if finding.took_ms else ""
        text = f"{finding.level.word.upper():<7} {finding.agent}: {finding.check}{subject}: {finding.message}{took}"
        lines.append(printable(text))
        if finding.level >= Level.WARNING and finding.advice:
            lines.append(f"        hint: {printable(finding.advice)}")
    return lines
