"""A run as it goes, and what can be done to it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.screens.arrangement import Arrangements
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.leaving import abort_question, take_over_question, watching_words
from sai3tui.screens.run_view import RunView
from sai3tui.screens.services import RunEnded, SessionHandle, TakeOver
from sai3tui.widgets.playhead import Playhead
from sai3tui.widgets.text import span


class LiveScreen(RunView):
    """The picture of a session, live."""

    HELP = (
        "The run as it goes. On top the stages and what the current one does or waits for; then what the fleet moves "
        "and how long it takes, one second a column; then agents, those with problems first, and endpoints. space "
        "freezes the picture, never the run; the arrows go back in time, [ and ] from event to event, escape returns "
        "to the present. Digits show panes or put them away. x stops the run on all agents, after a question. Where "
        "another controller leads the run this is a view of it: t takes it over, after a question."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "freeze", "Freeze", id="live.freeze"),
        Binding("b", "barriers", "Barriers", id="live.barriers"),
        Binding("x", "abort", "Abort", id="live.abort"),
        Binding("t", "take_over", "Take over", id="live.take_over"),
        Binding("v", "report", "Results", id="live.results"),
    ]

    def __init__(self, session: SessionHandle, arrangements: Arrangements | None = None) -> None:
        super().__init__(session, arrangements)
        self._session = session
        self._ended = self._watched = False
        self._results_wanted = False

    @property
    def frozen(self) -> bool:
        return not self.head.follows

    def show_status(self, picture: RunSnapshot) -> None:
        """The present, also while the picture is of the past."""
        badge = ""
        if self._source.failure is not None:
            badge = "CONTROLLER STOPPED"
        elif self.head.at_s is not None:
            badge = f"FROZEN {span(max(0.0, self._snapshot.elapsed_s - self.head.at_s))}"
        elif self._watches:
            badge = "VIEW ONLY"
        self.status.show(self._snapshot, badge)

    @property
    def unsaid(self) -> frozenset[str]:
        return frozenset({"abort"}) if self._watches else frozenset()

    @property
    def _watches(self) -> bool:
        return self._snapshot.viewing and self._snapshot.outcome is None

    def changed(self, snapshot: RunSnapshot) -> None:
        if self._watches != self._watched:
            self._watched = self._watches
            self.refresh_bindings()
        if snapshot.outcome is not None and not self._ended:
            self._ended = True
            self.refresh_bindings()
            self._results_wanted = not self.frozen

    def tick(self) -> None:
        """As for any run; and when this one has ended, go on to its results, but not over the head of somebody who
        reads something else: when they come back."""
        super().tick()
        if self._results_wanted and self.is_active and not self.frozen:
            self._results_wanted = False
            self.post_message(RunEnded(self._snapshot))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "abort":
            return self._snapshot.outcome is None and self._snapshot.phase is not Phase.WRITING
        if action == "take_over":
            return self._watches
        if action == "report":
            return self._snapshot.outcome is not None
        return True

    def action_freeze(self) -> None:
        """Hold the picture, or return to the present."""
        self._go(Playhead() if self.frozen else self.head.frozen(self._snapshot.elapsed_s))

    def action_barriers(self) -> None:
        self.app.push_screen(BarrierScreen(self._session, self._session))

    def action_report(self) -> None:
        self.post_message(RunEnded(self._snapshot))

    def action_take_over(self) -> None:
        def answered(answer: str | None) -> None:
            if answer == "take":
                self.post_message(TakeOver())

        self.app.push_screen(take_over_question(self._snapshot), answered)

    def action_abort(self) -> None:
        if self._watches:
            self.notify(watching_words(self._snapshot), markup=False)
            return

        def answered(answer: str | None) -> None:
            if answer == "abort" and not self._session.snapshot().viewing:
                self._session.abort("aborted in the control room")

        self.app.push_screen(abort_question(self._snapshot, "Abort the run", "abort it"), answered)

    def leave(self) -> None:
        if self._snapshot.outcome is None:
            words = "q leaves, and the run goes on" if self._watches else "the run goes on; x aborts it, q leaves"
            self.notify(words, markup=False)
        else:
            self.dismiss()
