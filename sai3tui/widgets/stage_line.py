"""Two lines about the stages: all of them in order, and what the current one is doing or waiting for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from sai3tui.controller.snapshot import Phase, RunSnapshot, StageStatus, StageView
from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.states import STAGE, outcome_look
from sai3tui.widgets.text import bar, clean, plural, share, span

BAR_WIDTH = 24
LEAST_BAR = 6
BARRIER = "◆ barrier "


class StageLine(Painted):
    """The stages of a snapshot: `✓ prepare › ● execute › · cleanup`, and below it progress or the barrier."""

    DEFAULT_CSS = """
    StageLine { height: 2; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._snapshot = RunSnapshot()

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the stages of this snapshot."""
        self._snapshot = snapshot
        self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (strip_line(self._snapshot, width, palette), detail_line(self._snapshot, width, palette))


def strip_line(snapshot: RunSnapshot, width: int, palette: Palette) -> Text:
    """All stages with their states; where there is no room for all, those around the current one, and how many more
    there are on both sides."""
    if not snapshot.stages:
        return Text("the plan is on its way", style=palette.muted)
    live = snapshot.outcome is None
    parts = [_stage(stage, palette, current=live and stage.index == snapshot.stage_index) for stage in snapshot.stages]
    current = next((at for at, stage in enumerate(snapshot.stages) if stage.index == snapshot.stage_index), 0)
    first, last = current, current + 1
    # What comes is worth more than what was; both sides grow in turn while they fit.
    for _ in parts:
        if last < len(parts) and _joined(parts, first, last + 1, palette).cell_len <= width:
            last += 1
        if first > 0 and _joined(parts, first - 1, last, palette).cell_len <= width:
            first -= 1
    return _joined(parts, first, last, palette)


def _joined(parts: list[Text], first: int, last: int, palette: Palette) -> Text:
    """The stages from `first` up to `last`."""
    more = len(parts) - last
    shown = [Text(f"{first} before", style=palette.muted)] if first else []
    shown += parts[first:last]
    shown += [Text(f"{more} more", style=palette.muted)] if more else []
    return Text(" › ", style=palette.faint).join(shown)


def _stage(stage: StageView, palette: Palette, *, current: bool) -> Text:
    look = STAGE[stage.status]
    name_style = f"bold {palette.bright}" if current else palette.text if _seen(stage) else palette.muted
    part = Text.assemble((f"{look.glyph} ", look.colour(palette)), (clean(stage.name), name_style))
    if stage.status in (StageStatus.DONE, StageStatus.FAILED, StageStatus.ABORTED):
        part.append(f" {span(stage.elapsed_s)}", style=palette.muted)
    return part


def _seen(stage: StageView) -> bool:
    return stage.status not in (StageStatus.PENDING, StageStatus.SKIPPED)


def detail_line(snapshot: RunSnapshot, width: int, palette: Palette) -> Text:
    """One sentence with a bar about what goes on."""
    if snapshot.outcome is not None:
        return _outcome(snapshot, palette)
    if snapshot.phase is Phase.CONNECTING:
        return Text("connecting to " + plural(len(snapshot.agents), "agent"), style=palette.info)
    if snapshot.phase is Phase.PREFLIGHT:
        return Text("preflight checks are running", style=palette.info)
    if snapshot.phase is Phase.READY:
        return Text("preflight is done; f5 starts the run", style=palette.info)
    if snapshot.phase is Phase.ABORTING:
        return Text("▲ aborting: agents end what is in flight, results are kept", style=palette.warn)
    if snapshot.phase is Phase.WRITING:
        return Text("all stages are over, the last files are being written", style=palette.info)
    stage = next((s for s in snapshot.stages if s.index == snapshot.stage_index), None)
    if stage is None:
        return Text("agents are getting ready", style=palette.info)
    if stage.status is StageStatus.AT_BARRIER or (stage.arrived and stage.waiting_for):
        line = barrier_text(stage, len(snapshot.agents), palette, width)
        if snapshot.barrier is not None and snapshot.barrier.held:
            who = "the leader" if snapshot.viewing else "b p"
            line.append(f"  ▲ kept shut, {who} opens it", style=palette.warn)
        return line
    missed = sum(1 for view in snapshot.thresholds if view.failed)
    return _progress(stage, palette, width, missed)


def _outcome(snapshot: RunSnapshot, palette: Palette) -> Text:
    assert snapshot.outcome is not None
    look = outcome_look(snapshot.outcome.status)
    line = look.text(palette)
    if snapshot.outcome.failure is not None:
        line.append(": " + clean(snapshot.outcome.failure.message), style=palette.text)
    elif snapshot.outcome.results:
        line.append("  results in " + clean(snapshot.outcome.results), style=palette.muted)
    return line


def barrier_text(stage: StageView, agents: int, palette: Palette, width: int) -> Text:
    """How many have arrived, who is missing, for how long."""
    arrived, wide = len(stage.arrived), width >= 90
    said = Text(f" {arrived}/{agents} arrived", style=palette.text)
    policy = f"  {clean(stage.barrier)}" if wide else ""
    if stage.waiting_for:
        said.append(f"  waiting {span(stage.waiting_s)} for ", style=palette.muted)
        room = width - len(BARRIER) - LEAST_BAR - said.cell_len - len(policy)
        said.append(_names(stage.waiting_for, room), style=palette.warn)
    said.append(policy, style=palette.muted)
    # The bar gives way to what is said.
    most = BAR_WIDTH if wide else BAR_WIDTH // 2
    done, left = bar(share(arrived, agents), max(LEAST_BAR, min(most, width - len(BARRIER) - said.cell_len)))
    line = Text(BARRIER, style=palette.info).append(done, style=palette.info).append(left, style=palette.faint)
    return line.append_text(said)


def _names(names: Sequence[str], room: int) -> str:
    """As many names as there is room for, at least one, and how many more there are."""
    cleaned = [clean(name) for name in names]
    for shown in range(len(cleaned), 0, -1):
        more = f" and {len(cleaned) - shown} more" if shown < len(cleaned) else ""
        text = ", ".join(cleaned[:shown]) + more
        if cell_len(text) <= room or shown == 1:
            return text
    return ""


def _progress(stage: StageView, palette: Palette, width: int, missed: int) -> Text:
    line = Text()
    progress = None
    if stage.planned:
        progress = share(stage.done, stage.planned)
        line.append(f" {progress:>4.0%} ", style=f"bold {palette.text}")
        line.append(f" {stage.done:,} of {stage.planned:,}", style=palette.text)
        line.append(f"  in {span(stage.elapsed_s)}", style=palette.muted)
        if stage.left_s is not None:
            line.append(f", {span(stage.left_s)} left", style=palette.muted)
    elif stage.duration_s:
        progress = share(stage.elapsed_s, stage.duration_s)
        line.append(f" {progress:>4.0%} ", style=f"bold {palette.text}")
        line.append(f" {span(min(stage.elapsed_s, stage.duration_s))} of {span(stage.duration_s)}", style=palette.text)
    else:
        line.append(f"{clean(stage.type)} for {span(stage.elapsed_s)}", style=palette.text)
    if stage.errors:
        line.append("  ✗ " + plural(stage.errors, "error"), style=palette.bad)
    if missed:
        line.append(f"  ✗ {plural(missed, 'threshold')} missed", style=palette.bad)
    if stage.existed:
        line.append(f"  {stage.existed:,} existed", style=palette.muted)
    if stage.repeated_puts:
        line.append(f"  ▲ {stage.repeated_puts:,} written twice", style=palette.warn)
    if stage.retries:
        line.append(f"  ▲ {stage.retries:,} made again", style=palette.warn)
    if stage.client_limited:
        line.append("  ▲ limited by the client", style=palette.warn)
    if width >= 90:
        line.append(f"   then barrier {clean(stage.barrier)}", style=palette.muted)
    if progress is None:
        return line
    # The bar gives way to what is said.
    done, left = bar(progress, max(LEAST_BAR, min(BAR_WIDTH, width - line.cell_len)))
    return Text().append(done, style=palette.ok).append(left, style=palette.faint).append_text(line)
