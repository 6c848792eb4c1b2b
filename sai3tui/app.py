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

from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.errors import Failure, Sai3Error
from sai3tui.screens.arrangement import Arrangements
from sai3tui.screens.confirm import ConfirmScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.files import free_name, read_config, text_of
from sai3tui.screens.help import HelpScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.jump import JumpScreen
from sai3tui.screens.leaving import abort_question, quit_question
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.palette import palette_commands
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.recovery import Recovery
from sai3tui.screens.replay import ReplayScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.services import (
    CheckAgain,
    ExportRun,
    LeaveRun,
    OpenConfig,
    OpenRun,
    PlayRun,
    RunDemo,
    RunEnded,
    RunIsLive,
    RunOrder,
    Services,
    SessionHandle,
    ShowReport,
    StartRun,
    TakeOver,
)
from sai3tui.screens.template_list import template_chooser, templates
from sai3tui.terminal import log_file, terminal_is_gone
from sai3tui.theme import DARK, GREY, SIXTEEN, THEMES
from sai3tui.widgets.plain_charts import PlainCharts
from sai3tui.widgets.run_views import report_of
from sai3tui.widgets.scroll_bar import SlimScrollBar
from sai3tui.widgets.states import title_of

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_ABORTED = 128 + signal.SIGINT
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANGUP_S = 1.0
ABORT_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
MOUNT_POLLS = 50
POLL_S = 0.1
TITLE_S = 1.0


class Sai3App(App[None]):
    """Holds the screens and the one session; asks before a live run is ended."""

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
        super().__init__()
        self._services = services
        self._config = config
        self._start_at_once = start
        self._signals = signals
        self.arrangements = arrangements or Arrangements()
        self._recent = recent or RecentConfigs()
        self._session: SessionHandle | None = None
        self._successor: SessionHandle | None = None
        """What is about to take over the run that the session watches."""
        self._order: RunOrder | None = None
        self._leaving = False
        self._exit_code = EXIT_OK
        self._title_told = ""
        self._rung = False
        self.parting = ""
        """What to tell who leaves, once the terminal is given back."""
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

    def _on_signal(self, number: signal.Signals) -> None:
        """Abort what runs, then leave with the code of the signal; without a terminal, the run goes on if it can."""
        if number == signal.SIGHUP and self._detachable:
            self._part("the terminal is gone", 128 + number)
        else:
            self._leave(f"stopped by {number.name}", 128 + number)

    @property
    def _detachable(self) -> bool:
        return self.live and self._session is not None and self._session.snapshot().detachable

    @property
    def live(self) -> bool:
        """Whether a session is neither finished nor dead."""
        session = self._session
        return session is not None and session.snapshot().outcome is None and session.failure is None

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

    def _ask_to_quit(self) -> None:
        if self._leaving or isinstance(self.screen, ConfirmScreen):
            return
        if not self.live or self._session is None:
            self._leave("", self._code_of_run())
            return
        if self._successor is not None:
            self.notify("the run is just being taken over", markup=False)
            return

        snapshot = self._session.snapshot()
        if snapshot.viewing:
            self._part("the viewer left", EXIT_OK)
            return

        if snapshot.phase is Phase.WRITING:
            self._leave("", EXIT_FAILED)
            return

        def answered(answer: str | None) -> None:
            if answer in ("abort", "detach") and not self.live:
                # It ended while the question stood.
                self._leave("", self._code_of_run())
            elif answer in ("abort", "detach") and self._session is not None and self._session.snapshot().viewing:
                # Another controller took it over while the question stood.
                self._part("the viewer left", EXIT_OK)
            elif answer == "abort":
                self._leave("aborted in the control room", EXIT_ABORTED)
            elif answer == "detach":
                self._part("detached in the control room", EXIT_FAILED)

        title = "Quit while the run is live"
        ask = quit_question if snapshot.detachable else abort_question
        self.push_screen(ask(snapshot, title, "abort it and quit"), answered)

    def _code_of_run(self) -> int:
        if self._session is None:
            return self._exit_code
        outcome = self._session.snapshot().outcome
        if outcome is not None:
            return outcome.exit_code
        return EXIT_FAILED if self._session.failure is not None else self._exit_code

    def panic(self, *renderables: RenderableType) -> None:
        """A terminal that went away is no defect of ours: whoever reads it fails before the SIGHUP is seen."""
        if terminal_is_gone():
            self._on_signal(signal.SIGHUP)
        else:
            super().panic(*renderables)

    def _leave(self, reason: str, code: int) -> None:
        """Abort what is live, wait for its end within bounds, and exit. The first call counts."""
        if not self._leaving:
            self._leaving = True
            self._leave_in_order(reason, code)

    def _part(self, reason: str, code: int) -> None:
        """Leave and let the run go on; `code` is for when nobody can be found to lead it. The first call counts."""
        if not self._leaving:
            self._leaving = True
            self._part_in_order(reason, code)

    @work(group="leave")
    async def _part_in_order(self, reason: str, code: int) -> None:
        session = self._session
        if session is not None:
            self.notify("detaching: the run goes on", timeout=60, markup=False)
            session.detach(reason)
            await self._until_over(session)
            snapshot = session.snapshot()
            await asyncio.to_thread(session.stop, STOP_LIMIT_S)
            outcome = snapshot.outcome
            if snapshot.viewing:
                code = EXIT_OK
            elif outcome is not None and outcome.status == "detached":
                try:
                    self.parting = await asyncio.to_thread(self._services.hand_over, Path(outcome.results))
                    code = EXIT_OK
                except Sai3Error as error:
                    self.parting = f"sai3tui: {error.message}\n  hint: {error.hint}\n"
            elif outcome is not None:
                # It ended before we could leave.
                code = outcome.exit_code
        await self._end(code)

    @work(group="leave")
    async def _leave_in_order(self, reason: str, code: int) -> None:
        """Without a `reason`, wait for a run that is about to be over by itself."""
        session = self._session
        if session is not None:
            if self.live and reason:
                self.notify("aborting: results are kept", timeout=60, markup=False)
                session.abort(reason, code)
                await self._until_over(session)
            elif self.live:
                self.notify("the last files are being written", timeout=60, markup=False)
                await self._until_over(session)
                code = self._code_of_run()
            await asyncio.to_thread(session.stop, STOP_LIMIT_S)
        await self._end(code)

    async def _end(self, code: int) -> None:
        """Exit, but not while a screen is being made: what it has composed would be gone when it is mounted."""
        for _ in range(MOUNT_POLLS):
            if self.screen.is_mounted:
                break
            await asyncio.sleep(POLL_S)
        self.exit(return_code=code)

    async def on_event(self, event: events.Event) -> None:
        """Keys and clicks mean nothing any more to somebody who is on the way out."""
        if not (self._leaving and isinstance(event, events.InputEvent)):
            await super().on_event(event)

    @property
    def left_in_order(self) -> bool:
        """Whether somebody or a signal ended the program, not a crash."""
        return self._leaving

    def end_session(self) -> None:
        """End what a crash of the screens has left running; call it when the app is over."""
        if self._successor is not None:
            # It may lead by now: then it leaves.
            self._successor.detach("left while the run was taken over")
            self._successor.stop(STOP_LIMIT_S)
        if self._session is not None:
            self._session.stop(STOP_LIMIT_S)

    async def _until_over(self, session: SessionHandle) -> None:
        deadline = asyncio.get_running_loop().time() + ABORT_LIMIT_S
        while session.snapshot().outcome is None and session.failure is None:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(POLL_S)

    # --- runs ------------------------------------------------------------------------------------------------------

    def on_start_run(self, message: StartRun) -> None:
        self._begin(message.order)

    def _begin(self, order: RunOrder) -> None:
        if self.live:
            self.notify("a run is live already", severity="warning", markup=False)
            return
        self._forget_session()
        self._recent.note(order.path)
        self._order = order
        self._watch(self._services.open_session(order))

    def _watch(self, session: SessionHandle) -> None:
        self._session = session
        self._rung = False
        session.start()
        self.push_screen(PreflightScreen(session))

    def on_take_over(self, _message: TakeOver) -> None:
        if self.live and self._session is not None and self._successor is None and not self._leaving:
            self._take_over(self._session)

    @work(group="take over")
    async def _take_over(self, watching: SessionHandle) -> None:
        """Lead the run that we watch; what watches it stays until then, and if that cannot be done."""
        successor = self._successor = watching.successor()
        self.notify("taking the run over", markup=False)
        successor.start()
        snapshot = successor.snapshot()
        while snapshot.phase is not Phase.RUNNING and snapshot.outcome is None and successor.failure is None:
            await asyncio.sleep(POLL_S)
            snapshot = successor.snapshot()
        if self._leaving:
            return
        self._successor = None
        failure = snapshot.outcome.failure if snapshot.outcome is not None else None
        if successor.failure is not None or failure is not None:
            self._stop_off_loop(successor)
            why = failure.sentence() if failure is not None else str(successor.failure)
            self.notify(why, title="the run was not taken over", severity="error", timeout=60, markup=False)
            return
        self._session, self._rung = successor, False
        self._stop_off_loop(watching)
        if any(isinstance(screen, LiveScreen) for screen in self.screen_stack):
            while not isinstance(self.screen, LiveScreen):
                await self.pop_screen()
            await self.pop_screen()
        await self.push_screen(LiveScreen(successor, self.arrangements))

    def on_check_again(self, _message: CheckAgain) -> None:
        if self._order is not None and isinstance(self.screen, PreflightScreen):
            self.pop_screen()
            self._begin(self._order)

    def _forget_session(self) -> None:
        """Keep the exit code of a session that is over, and end its thread."""
        self._exit_code = self._code_of_run()
        if self._session is not None:
            self._stop_off_loop(self._session)
            self._session = None

    @work(thread=True, group="stop")
    def _stop_off_loop(self, session: SessionHandle) -> None:
        session.stop(STOP_LIMIT_S)

    def on_leave_run(self, _message: LeaveRun) -> None:
        session = self._session
        if session is not None and self.live:
            session.abort("left preflight", EXIT_ABORTED)
        self._session = None
        if session is not None:
            self._stop_off_loop(session)
        if isinstance(self.screen, PreflightScreen):
            self.pop_screen()

    def on_run_is_live(self, _message: RunIsLive) -> None:
        if self._session is not None and not self._leaving and isinstance(self.screen, PreflightScreen):
            self.switch_screen(LiveScreen(self._session, self.arrangements))

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

    def snapshot(self) -> RunSnapshot | None:
        """The live session's snapshot, if there is a session."""
        return self._session.snapshot() if self._session else None
