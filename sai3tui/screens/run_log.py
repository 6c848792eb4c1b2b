"""All events of a finished run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.screens.confirm import ReadScreen
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.text import clean, time_of_day
from sai3tui.widgets.wrapping import wrapped


class LogScreen(RoomScreen):
    """The events of a finished run."""

    HELP = "What happened in this run, in order. enter shows a line in full."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l", "dismiss", "Back", id="log.leave")]

    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self._report = report

    def body(self) -> Iterable[Widget]:
        yield Pane("Events UTC", EventLog(id="events"), id="log-pane")

    def on_mount(self) -> None:
        self.status.say(("events", "muted"), (self._report.name, "text"))
        log = self.query_one(EventLog)
        log.show(self._report.log, len(self._report.log))
        log.focus()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        line = self.query_one(EventLog).current
        if line is not None:
            title = f"{time_of_day(line.time_ns)} UTC  {line.agent or 'controller'}"
            text = clean(line.text)
            self.app.push_screen(ReadScreen(title, lambda width, palette: wrapped(text, width, palette.text), text))
