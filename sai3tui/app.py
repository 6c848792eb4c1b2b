"""The control room: one Textual app over a run session that lives on a thread of its own. It computes nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.scrollbar import ScrollBar
from textual.widget import Widget

from sai3tui.errors import Failure, Sai3Error
from sai3tui.run_keeper import EXIT_OK, RunKeeper
from sai3tui.screens.arrangement import Arrangements
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.files import free_name, read_config, text_of
from sai3tui.screens.help import HelpScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.jump import JumpScreen
from sai3tui.screens.palette import palette_commands
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.recovery import Recovery
from sai3tui.screens.replay import ReplayScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.services import (
    ExportRun,
    OpenConfig,
    OpenRun,
    PlayRun,
    RunDemo,
    RunEnded,
    RunOrder,
    Services,
    ShowReport,
)
from sai3tui.screens.template_list import template_chooser, templates
from sai3tui.terminal import log_file, terminal_is_gone
from sai3tui.theme import DARK, GREY, SIXTEEN, THEMES
from sai3tui.widgets.plain_charts import PlainCharts
from sai3tui.widgets.run_views import report_of
from sai3tui.widgets.scroll_bar import SlimScrollBar
from sai3tui.widgets.states import title_of

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANGUP_S = 1.0
TITLE_S = 1.0


class Sai3App(RunKeeper):
    """Holds the screens: what is shown of the run and of everything else, and what a terminal needs to be told."""

    TITLE = "sai3tui"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar = App.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("f1,question_mark", "help", "Help", key_display="f1", id="app.help"),
        Binding("ctrl+o", "jump", "Jump to a pane", show=False, priority=True, id="app.jump"),
        Binding("ctrl+c", "interrupted", "Copy or quit", show=False, system=True),
    ]

    def __init__(
        self,
        services: Services,
        config: tuple[Path, bytes] | None = None,
        *,
        start: bool = False,
        signals: bool = False,
        arrangements: Arrangements | None = None,
        recent: RecentConfigs | None = None,
        keys: Mapping[str, str] | None = None,
        plain_charts: bool = False,
    ) -> None:
        """`config` is a file that was read already. With `signals` SIGINT, SIGTERM and SIGHUP end the run, then us."""
        super().__init__(services, arrangements, recent)
        self._config = config
        self._start_at_once = start
        self._signals = signals
        self._title_told = ""
        self.wants_demo = False
        """Somebody left for the demo."""
        ScrollBar.renderer = SlimScrollBar
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = GREY.name if self.no_color else DARK.name
        if plain_charts:
            # The one place where a filter can be had; Textual's own for NO_COLOR stands there too.
            self._filters.append(PlainCharts())
        self.set_keymap(dict(keys or {}))

    # --- starting and ending ---------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        if not self.is_headless and self.console.color_system == "standard" and not self.no_color:
            self.theme = SIXTEEN.name
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, partial(self._on_signal, number))
        self.push_screen(HomeScreen(self._services, self._recent))
        self.set_interval(TITLE_S, self.tell_terminal)
        self.set_interval(HANGUP_S, self.look_for_hangup)
        self.tell_terminal()
        attached = self._services.attach()
        if attached is not None:
            self._watch(attached)
            return
        if self._config is None:
            return
        path, data = self._config
        if self._start_at_once:
            self._begin(RunOrder(path, data, hold=False))
        else:
            self._edit(path, text_of(data, path), data)

    def look_for_hangup(self) -> None:
        """Leave when the terminal is gone although nobody said so: the signal goes to the session's leader only, and
        some leaders, such as make, keep it to themselves."""
        if self._signals and terminal_is_gone():
            self._on_signal(signal.SIGHUP)

    def tell_terminal(self) -> None:
        """Keep the terminal's title true, and ring once when a run has ended."""
        snapshot = self.snapshot()
        title = title_of(snapshot)
        if title != self._title_told and self._driver is not None:
            self._title_told = title
            self._driver.write(f"\x1b]2;{title}\x07")
        if snapshot is not None and snapshot.outcome is not None and not self._rung:
            self._rung = True
            self.bell()

    async def action_quit(self) -> None:
        self._ask_to_quit()

    def action_interrupted(self) -> None:
        """ctrl+c: copies what is selected; else it asks like any other way to quit."""
        selection = self.screen.get_selected_text()
        if selection:
            self.copy_to_clipboard(selection)
        else:
            self._ask_to_quit()

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def panic(self, *renderables: RenderableType) -> None:
        """A terminal that went away is no defect of ours: whoever reads it fails before the SIGHUP is seen."""
        if terminal_is_gone():
            self._on_signal(signal.SIGHUP)
        else:
            super().panic(*renderables)

    async def on_event(self, event: events.Event) -> None:
        """Keys and clicks mean nothing any more to somebody who is on the way out."""
        if not (self._leaving and isinstance(event, events.InputEvent)):
            await super().on_event(event)

    # --- results ---------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, group="open")
    def on_run_ended(self, message: RunEnded) -> None:
        """Show what the results directory holds, so that screen and files cannot differ; else what we saw."""
        outcome = message.snapshot.outcome
        report = None
        if outcome is not None and outcome.results:
            try:
                report = self._services.load_run(Path(outcome.results))
            except Sai3Error as error:
                self.call_from_thread(self._complain, error.failure())
        if report is None:
            path = str(self._order.path) if self._order else ""
            report = replace(report_of(message.snapshot), config_path=path)
        self.post_message(ShowReport(report))

    @work(thread=True, exclusive=True, group="open")
    def on_open_run(self, message: OpenRun) -> None:
        try:
            report = self._services.load_run(message.path)
        except Sai3Error as error:
            self.call_from_thread(self._complain, error.failure())
            return
        self.post_message(ShowReport(report))

    @work(thread=True, exclusive=True, group="open")
    def on_play_run(self, message: PlayRun) -> None:
        try:
            source = self._services.load_replay(message.path)
        except Sai3Error as error:
            self.call_from_thread(self._complain, error.failure())
            return
        self.call_from_thread(self.push_screen, ReplayScreen(source, self.arrangements))

    @work(thread=True, exclusive=True, group="export")
    def on_export_run(self, message: ExportRun) -> None:
        try:
            written = self._services.export(message.path, message.form)
        except Sai3Error as error:
            self.call_from_thread(self._complain, error.failure())
        else:
            self.call_from_thread(self.notify, f"written: {written}", markup=False)

    def on_show_report(self, message: ShowReport) -> None:
        if not self._leaving:
            self.push_screen(ResultsScreen(message.report))

    def _complain(self, failure: Failure) -> None:
        text = failure.sentence() + (f"\n{failure.hint}" if failure.hint else "")
        self.notify(text, severity="error", timeout=10, markup=False)

    # --- configurations --------------------------------------------------------------------------------------------

    def on_run_demo(self, _message: RunDemo) -> None:
        if not self.live:
            self.wants_demo = True
            self._leave("", EXIT_OK)

    def on_open_config(self, message: OpenConfig) -> None:
        if message.path is None:
            self._new_config()
            return
        try:
            data = read_config(message.path) if message.path.exists() or message.text is None else None
            text = message.text if message.text is not None else text_of(data or b"", message.path)
        except Sai3Error as error:
            self._complain(error.failure())
            return
        self._edit(message.path, text, data)

    @work(group="template", exclusive=True)
    async def _new_config(self) -> None:
        """Edit a new file, which begins with a template."""
        name = await self.push_screen_wait(template_chooser())
        if name is not None:
            self._edit(free_name(Path("new.yaml")), templates()[name], None)

    def _edit(self, path: Path, text: str, on_disk: bytes | None) -> None:
        if on_disk is not None:
            self._recent.note(path)
        recovery = Recovery(log_file().parent / "recovery", path)
        self.push_screen(EditorScreen(self._services, path, text, on_disk, recovery))

    # --- the palette -----------------------------------------------------------------------------------------------

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        return palette_commands(self, screen)

    def action_jump(self) -> None:
        """Letters on all panes; one key goes there."""
        if isinstance(self.screen, ModalScreen):
            return
        beneath = self.screen

        def chosen(target: Widget | None) -> None:
            if target is not None:
                beneath.set_focus(target)

        self.push_screen(JumpScreen(beneath), chosen)
