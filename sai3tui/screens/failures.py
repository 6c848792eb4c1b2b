"""What went wrong, by cause, with everything that is known about one of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.controller.snapshot import FailureGroup
from sai3tui.screens.base import TICK_S, Pane, RoomScreen
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.text import clean, plural, time_of_day
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import failure_lines, failure_plain, labelled

COLUMNS = (
    Column("count", "count", 7, right=True),
    Column("cause", "cause", 24, grow=True),
    Column("op", "op", 6, need=1),
    Column("agents", "agents", 12, need=2),
    Column("last", "last UTC", 8, need=3),
)


class FailureList(LineList):
    """Groups of failures, the most frequent first."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._groups: tuple[FailureGroup, ...] = ()

    def show(self, groups: tuple[FailureGroup, ...]) -> None:
        """Show these groups."""
        self._groups = tuple(sorted(groups, key=lambda group: -group.count))
        self.redraw()

    @property
    def current(self) -> FailureGroup | None:
        """The group at the cursor."""
        return self._groups[self.cursor] if self.cursor < len(self._groups) else None

    def row_count(self) -> int:
        return len(self._groups)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("✓ no operation has failed", style=palette.ok),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        group = self._groups[index]
        context = group.sample.context
        status = f"{context.http_status} " if context.http_status else ""
        cells = {
            "count": (f"{group.count:,}", f"bold {palette.bad}"),
            "cause": (f"✗ {status}{clean(group.sample.sentence())}", palette.text),
            "op": (clean(context.op), palette.muted),
            "agents": (clean(", ".join(group.agents)), palette.muted),
            "last": (time_of_day(group.last_ns), palette.muted),
        }
        return row_line(fitting(COLUMNS, width), cells)


class FailuresScreen(RoomScreen):
    """Shows the groups that `groups()` returns, asked anew four times a second."""

    HELP = (
        "Failures grouped by cause: a million errors of one kind are one row. The pane below shows all that is known "
        "about one of them, and what can be done."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy", id="errors.copy"),
        Binding("escape,e", "dismiss", "Back", id="errors.dismiss"),
    ]

    def __init__(self, groups: Callable[[], tuple[FailureGroup, ...]], run: str) -> None:
        super().__init__()
        self._groups = groups
        self._run_name = run
        self._shown: tuple[FailureGroup, ...] | None = None

    def body(self) -> Iterable[Widget]:
        yield Pane("Errors by cause", FailureList(id="causes"), id="causes-pane")
        yield Pane("One of them", TextRows(id="detail"), id="detail-pane")

    def on_mount(self) -> None:
        self.query_one(FailureList).focus()
        self.set_interval(TICK_S, self.tick)
        self.tick()

    def tick(self) -> None:
        """Show what has failed by now."""
        groups = self._groups()
        if groups == self._shown:
            return
        self._shown = groups
        total = sum(group.count for group in groups)
        self.status.say(
            (self._run_name, "text"),
            (f"✗ {plural(total, 'error')}" if total else "✓ no errors", "bad" if total else "ok"),
        )
        self.query_one(FailureList).show(groups)
        self._detail()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "causes":
            self._detail()

    def _detail(self) -> None:
        group = self.query_one(FailureList).current

        def lines(width: int, palette: Palette) -> list[Text]:
            if group is None:
                return []
            seen = f"{group.count:,} times, {time_of_day(group.first_ns)} to {time_of_day(group.last_ns)} UTC"
            who = ", ".join(group.agents)
            return [
                *failure_lines(group.sample, width, palette),
                Text(),
                *labelled("seen", seen, width, palette, "muted"),
                *labelled("by", who, width, palette, "muted"),
            ]

        self.query_one("#detail", TextRows).show(lines)

    def action_copy(self) -> None:
        group = self.query_one(FailureList).current
        if group is not None:
            self.app.copy_to_clipboard(failure_plain(group.sample))
            self.notify("copied", markup=False)
