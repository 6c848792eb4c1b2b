"""The one run of a control room: beginning, watching, taking over, leaving and ending it. What else is shown is the
app's matter."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from textual import work
from textual.app import App

from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.errors import Sai3Error
from sai3tui.screens.arrangement import Arrangements
from sai3tui.screens.confirm import ConfirmScreen
from sai3tui.screens.leaving import abort_question, quit_question
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.services import (
    CheckAgain,
    LeaveRun,
    RunIsLive,
    RunOrder,
    Services,
    SessionHandle,
    StartRun,
    TakeOver,
)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_ABORTED = 128 + signal.SIGINT
ABORT_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
MOUNT_POLLS = 50
POLL_S = 0.1


class RunKeeper(App[None]):
    """Holds the one session; asks before a live run is left or ended."""

    def __init__(self, services: Services, arrangements: Arrangements | None, recent: RecentConfigs | None) -> None:
        super().__init__()
        self._services = services
        self.arrangements = arrangements or Arrangements()
        self._recent = recent or RecentConfigs()
        self._session: SessionHandle | None = None
        self._successor: SessionHandle | None = None
        """What is about to take over the run that the session watches."""
        self._quits = False
        """Whether somebody wants to leave as soon as that is settled."""
        self._order: RunOrder | None = None
        self._leaving = False
        self._exit_code = EXIT_OK
        self._rung = False
        self.parting = ""
        """What to tell who leaves, once the terminal is given back."""

    # --- leaving and ending ----------------------------------------------------------------------------------------

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

    def _ask_to_quit(self) -> None:
        if self._leaving or isinstance(self.screen, ConfirmScreen):
            return
        if not self.live or self._session is None:
            self._leave("", self._code_of_run())
            return
        if self._successor is not None:
            self._quits = True
            self.notify("the run is just being taken over; you are asked how to leave once it is", markup=False)
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
                if await asyncio.to_thread(self._hand_over, Path(outcome.results)):
                    code = EXIT_OK
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
                led = not session.snapshot().viewing
                session.abort(reason, code)
                await self._until_over(session, led=led)
                lead = session.snapshot().lead
                if led and lead is not None:
                    self.parting = f"sai3tui: the run was not aborted: {lead.sentence}\n"
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

    @property
    def left_in_order(self) -> bool:
        """Whether somebody or a signal ended the program, not a crash."""
        return self._leaving

    def end_session(self) -> None:
        """End what a crash of the screens has left running; call it when the app is over."""
        if self._successor is not None:
            # It may lead by now: then it leaves, and another one is to lead.
            self._successor.detach("left while the run was taken over")
            self._successor.stop(STOP_LIMIT_S)
            snapshot = self._successor.snapshot()
            outcome = snapshot.outcome
            if outcome is not None and outcome.status == "detached" and outcome.results and not snapshot.viewing:
                self._hand_over(Path(outcome.results))
        if self._session is not None:
            self._session.stop(STOP_LIMIT_S)

    def _hand_over(self, directory: Path) -> bool:
        """Whether a controller in the background leads the run of this results directory now. Blocks."""
        try:
            self.parting = self._services.hand_over(directory)
        except Sai3Error as error:
            self.parting = f"sai3tui: {error.message}\n  hint: {error.hint}\n"
            return False
        return True

    async def _until_over(self, session: SessionHandle, *, led: bool = False) -> None:
        """For a bounded time. `led`: or until another controller has taken the run from us."""
        deadline = asyncio.get_running_loop().time() + ABORT_LIMIT_S
        while session.snapshot().outcome is None and session.failure is None:
            if asyncio.get_running_loop().time() > deadline or (led and session.snapshot().viewing):
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
            self._quit_as_asked()
            return
        self._session, self._rung = successor, False
        self._stop_off_loop(watching)
        if any(isinstance(screen, LiveScreen) for screen in self.screen_stack):
            while not isinstance(self.screen, LiveScreen):
                await self.pop_screen()
            await self.pop_screen()
        await self.push_screen(LiveScreen(successor, self.arrangements))
        self._quit_as_asked()

    def _quit_as_asked(self) -> None:
        """Somebody wanted to leave while the run was taken over: it is clear now what that means."""
        if self._quits:
            self._quits = False
            self._ask_to_quit()

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

    def snapshot(self) -> RunSnapshot | None:
        """The live session's snapshot, if there is a session."""
        return self._session.snapshot() if self._session else None
