"""`--batch` on a terminal: events scroll by, one bar per stage stays at the bottom."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from sai3tui.batch_output import nothing, plain_line, rates_text, running_stage
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.events import Level, Report
from sai3tui.results.describe import Narrator
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.tally import Item
from sai3tui.results.views import StageStatus, StageView

REFRESH_S = 0.25
STYLES = {Level.WARNING: "yellow", Level.ERROR: "red"}


class ProgressPrinter:
    """All of it goes through one console, so that lines and the bar never overwrite each other."""

    def __init__(self) -> None:
        self.on_closed = nothing
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[what]}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._narrator = Narrator()
        self._bar: TaskID | None = None
        self._stage = 0
        self._started = False

    def item(self, item: Item) -> None:
        line = None if isinstance(item, Report) else self._narrator.line(item)
        if line is not None:
            self._safely(
                lambda: self._console.print(Text(plain_line(line), STYLES.get(line.level, "")), soft_wrap=True)
            )

    def second(self, second: FleetSecond) -> None:
        """The bar is drawn at its own pace."""

    async def watch(self, snapshot: Callable[[], RunSnapshot]) -> None:
        self._safely(self._progress.start)
        self._started = True
        while True:
            now = snapshot()
            self._safely(lambda now=now: self._draw(now))  # type: ignore[misc]
            await asyncio.sleep(REFRESH_S)

    def close(self) -> None:
        if self._started:
            self._safely(self._progress.stop)

    def _draw(self, snapshot: RunSnapshot) -> None:
        stage = running_stage(snapshot)
        if stage is None:
            self._remove_bar()
            return
        if self._bar is None or stage.index != self._stage:
            self._remove_bar()
            self._bar = self._progress.add_task(f"{stage.index} {stage.name}", total=None, what="")
            self._stage = stage.index
        done, total, text = _how_far(stage)
        what = f"{text}  {rates_text(snapshot)}  {stage.errors} errors"
        self._progress.update(self._bar, completed=done, total=total, what=what)
        self._progress.refresh()

    def _remove_bar(self) -> None:
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None
            self._progress.refresh()

    def _safely(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError:
            self.on_closed()


def _how_far(stage: StageView) -> tuple[float, float | None, str]:
    """What is done, of how much, in words."""
    if stage.status is StageStatus.AT_BARRIER and stage.waiting_for:
        return 1, 1, f"waiting {stage.waiting_s:.0f} s for {', '.join(stage.waiting_for)}"
    if stage.duration_s:
        done = min(stage.elapsed_s, stage.duration_s)
        return done, stage.duration_s, f"{done:.0f}/{stage.duration_s:.0f} s"
    return stage.done, stage.planned or None, f"{stage.done}/{stage.planned} objects" if stage.planned else ""
