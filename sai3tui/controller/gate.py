"""Preflight of a run, as often as somebody asks for it, and the hold after it."""

from __future__ import annotations

import asyncio
from enum import Enum

from sai3tui.controller.groundwork import Groundwork
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.preflight import Preflight
from sai3tui.controller.refusals import preflight_failed
from sai3tui.controller.request import RunStopped
from sai3tui.controller.snapshot import Phase
from sai3tui.events import Level


class Answer(Enum):
    PROCEED = "proceed"
    CHECK_AGAIN = "check again"


class Gate:
    """Belongs to the session's loop. An answer counts only while it is waited for: what comes while checks run, or
    after another answer, was said of what is not known any more."""

    def __init__(self, ground: Groundwork) -> None:
        self._ground = ground
        self._journal = ground.journal
        self._preflight: Preflight | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._again = False
        """Whether what was accepted has to be checked once more."""

    def proceed(self) -> None:
        self._give(Answer.PROCEED)

    def recheck(self) -> None:
        self._give(Answer.CHECK_AGAIN)

    def _give(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def accept(self, check: str, reason: str) -> None:
        """Let the run begin although this check has found errors; of `owner`, check again."""
        if check == "owner":
            self._ground.takes_over = True
            self._journal.note(Level.WARNING, f"taken over: {reason}", code="adopted")
            self._again = True
            self._give(Answer.CHECK_AGAIN)
            return
        if self._preflight is not None and self._preflight.accept(check, reason):
            self._ground.accepted = frozenset(self._preflight.accepted)
            self._journal.refresh()

    async def passed(self, plan: RunPlan) -> RunPlan:
        """Until the run may begin; returns the plan by what was found. Raises RunStopped if it may not."""
        checks = self._preflight = Preflight(
            self._journal,
            plan,
            self._ground.links,
            self._ground.spec,
            self._ground.make_plan,
            self._ground.version,
            rate=self._ground.request.measure_rate,
        )
        checked = self._ground.request.preflight
        while True:
            if checked:
                self._again = False
                self._journal.phase(Phase.PREFLIGHT)
                await checks.run()
                self._adopt(plan, checks.plan)
                plan = checks.plan
            if not self._ground.request.hold_after_preflight:
                if checks.errors:
                    raise RunStopped(preflight_failed(checks.errors))
                return plan
            while not self._again:
                self._answer = asyncio.get_running_loop().create_future()
                self._journal.phase(Phase.READY)
                answer = await self._answer
                if answer is Answer.CHECK_AGAIN:
                    break
                if not checks.errors:
                    return plan
                self._journal.note(Level.WARNING, "not started: preflight has errors; correct them and check again")
            checked = True

    def _adopt(self, before: RunPlan, plan: RunPlan) -> None:
        """Go on by a plan that may have been made again after a look at the storage."""
        if plan is before:
            return
        fleet = self._journal.fleet
        fleet.notices = (*plan.notices, *(each for each in fleet.notices if each not in before.notices))
        for notice in plan.notices:
            if notice not in before.notices:
                self._journal.note(plan.level_of(notice), notice, code="plan")
        if self._ground.baseline is not None:
            fleet.compare_with(self._ground.baseline, plan.layout_hash)
        self._journal.refresh()
