"""What somebody does to the barriers of a run that we lead, and how long the current one waits, as events: for the run
log, for those who watch, and for who leads the run after us."""

from __future__ import annotations

from collections.abc import Iterable

from sai3tui.clock import now_ns
from sai3tui.controller.barriers import Barriers, Terms
from sai3tui.controller.journal import Journal
from sai3tui.events import BarrierReleased, BarrierWait, Level, Steered
from sai3tui.results.tally import Item

LONGER = "wait longer"
WITHOUT = "release without"
PAUSE = "pause at the next barrier"
GO_ON = "go on"


class Steering:
    """Belongs to the session's loop."""

    def __init__(self, machine: Barriers, journal: Journal) -> None:
        self._machine = machine
        self._journal = journal
        self._inherited: list[Steered] = []
        self._terms: Terms | None = None

    def wait_longer(self, seconds: float) -> None:
        """Give those who are late at the current barrier so much more time."""
        self._steer(LONGER, seconds=seconds)

    def release_without(self, agent: str) -> None:
        """Do not wait for this agent at the current barrier."""
        if agent in self._machine.agents:
            self._steer(WITHOUT, agent)

    def pause(self) -> None:
        """Keep barriers shut until `go_on`."""
        self._steer(PAUSE)

    def go_on(self) -> None:
        self._steer(GO_ON)

    def _steer(self, command: str, subject: str = "", seconds: float = 0.0) -> None:
        asked = Steered(now_ns(), "", command, subject, seconds)
        self._do(asked)
        self._journal.emit(asked)

    def _do(self, asked: Steered) -> None:
        command, machine = asked.command, self._machine
        if command == LONGER:
            machine.wait_longer(asked.seconds)
        elif command == WITHOUT and asked.subject in machine.agents:
            machine.release_without(asked.subject)
        elif command == PAUSE:
            machine.pause()
        elif command == GO_ON:
            machine.go_on()

    # --- going on with a run that another controller has led

    def adopt(self, items: Iterable[Item]) -> None:
        """What was asked for of that one counts: whether barriers stay shut, and what concerns the current one."""
        for item in items:
            if isinstance(item, BarrierReleased):
                self._inherited = [asked for asked in self._inherited if asked.command in (PAUSE, GO_ON)][-1:]
            elif isinstance(item, Steered):
                self._inherited.append(item)

    def begin(self) -> None:
        """The machine has begun a barrier."""
        self._terms = None
        inherited, self._inherited = self._inherited, []
        for asked in inherited:
            self._do(asked)
        if inherited and self._machine.paused:
            text = "barriers stay shut, as was asked for: p on the barrier board lets them open (attach --take-over)"
            self._journal.note(Level.WARNING, text, code="steered")

    # --- for others

    def tell(self, now: float, terms: Terms | None) -> None:
        """How long the current barrier waits, and for whom not, if that has changed."""
        if terms is None or terms == self._terms:
            return
        self._terms = terms
        at_ns = now_ns()
        deadline_ns = 0 if terms.until is None else at_ns + int((terms.until - now) * 1e9)
        self._journal.emit(
            BarrierWait(at_ns, "", terms.index, deadline_ns, terms.shut, terms.held, terms.without, terms.excused)
        )

    def tell_anew(self) -> None:
        """One of those who were told may be gone."""
        self._terms = None
