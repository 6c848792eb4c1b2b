"""The line on top of every screen: what this is, which run, in which state, how far, how healthy."""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto

from rich.text import Text

from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.theme import Palette
from sai3tui.widgets.agent_grid import agent_look
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.states import run_look
from sai3tui.widgets.text import clean, clock, plural

GAP = "   "
LEAST_NAME = 6
WIDE_FROM = 90


class Room(Enum):
    """How much can be said: all of it, without words that go without saying, or the least."""

    WIDE = auto()
    NARROW = auto()
    TIGHT = auto()


class StatusLine(Painted):
    """Either a plain title with a few facts (`say`) or the state of a run (`show`)."""

    DEFAULT_CSS = """
    StatusLine { dock: top; height: 1; background: $bar; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._parts: tuple[tuple[str, str], ...] = ()
        self._snapshot: RunSnapshot | None = None
        self._badge = ""

    def say(self, *parts: tuple[str, str]) -> None:
        """Texts with roles of the palette, left to right."""
        self._parts = parts
        self._snapshot = None
        self.refresh()

    def show(self, snapshot: RunSnapshot, badge: str = "") -> None:
        """The state of a run; `badge` is a word about the picture itself, such as frozen."""
        self._snapshot = snapshot
        self._badge = badge
        self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        brand = Text("sai3tui" + GAP, style=f"bold {palette.key}")
        if self._snapshot is None:
            facts = Text(GAP).join([Text(clean(text), style=getattr(palette, role)) for text, role in self._parts])
            return (brand + facts if brand.cell_len + facts.cell_len <= width else facts,)
        for room in (Room.WIDE, Room.NARROW, Room.TIGHT)[0 if width >= WIDE_FROM else 1 :]:
            line = self._run_line(self._snapshot, width, palette, room)
            if line.cell_len <= width:
                break
        return (line,)

    def _run_line(self, snapshot: RunSnapshot, width: int, palette: Palette, room: Room) -> Text:
        right = _health(snapshot, palette, self._badge, room)
        facts = _run_facts(snapshot, palette, room)
        name = Text(clean(snapshot.config_name) or "run", style=palette.text)
        brand = Text("sai3tui" + GAP if room is Room.WIDE else "", style=f"bold {palette.key}")
        # Of all that stands here, the name can best be cut: the state, the stage and the time cannot be guessed.
        left = width - brand.cell_len - facts.cell_len - right.cell_len - 1
        name.truncate(max(LEAST_NAME, left), overflow="ellipsis")
        line = brand + name + facts
        return line.append(" " * max(1, width - line.cell_len - right.cell_len)).append_text(right)


def _run_facts(snapshot: RunSnapshot, palette: Palette, room: Room) -> Text:
    look = run_look(snapshot)
    line = Text("  ").append(f"{look.glyph} {look.word.upper()}", style=f"bold {look.colour(palette)}")
    stage = next((s for s in snapshot.stages if s.index == snapshot.stage_index), None)
    if stage is not None and snapshot.outcome is None:
        line.append(
            f"  {'stage ' if room is Room.WIDE else ''}{stage.index}/{len(snapshot.stages)} ", style=palette.muted
        )
        line.append(clean(stage.name), style=palette.text)
    line.append("  ").append(clock(snapshot.elapsed_s), style=f"bold {palette.bright}")
    return line


def _health(snapshot: RunSnapshot, palette: Palette, badge: str, room: Room) -> Text:
    line, wide = Text(), room is Room.WIDE
    if badge:
        line.append(f" {badge} ", style=f"bold reverse {palette.key}").append("  ")
    if any(agent.insecure for agent in snapshot.agents):
        line.append(" INSECURE " if wide else " ! ", style=f"bold reverse {palette.bad}").append("  ")
    errors = sum(group.count for group in snapshot.failures)
    # The line of the stage says them too.
    if errors and room is not Room.TIGHT:
        text = plural(errors, "error") if wide else f"{errors:,} err"
        line.append(f"✗ {text}", style=f"bold {palette.bad}").append("  ")
    if wide:
        line.append(plural(len(snapshot.agents), "agent") + " ", style=palette.muted)
    gap = " " if room is Room.TIGHT else "  "
    looks = sorted((agent_look(agent) for agent in snapshot.agents), key=lambda look: look.rank)
    for position, ((glyph, role), count) in enumerate(Counter((look.glyph, look.role) for look in looks).items()):
        line.append(f"{gap if position else ''}{glyph} {count}", style=getattr(palette, role))
    return line
