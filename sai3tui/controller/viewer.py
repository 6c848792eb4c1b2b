"""Watches a run that another controller leads: what agents say, and nothing said to them."""

from __future__ import annotations

from sai3tui.controller.attaching import made_again
from sai3tui.controller.conductor import Conductor
from sai3tui.controller.request import SUCCESS, Ending, failed
from sai3tui.events import AgentState, BarrierReleased, ReleaseSeen, StateChanged
from sai3tui.results.tally import Item


class Viewer(Conductor):
    """A conductor that only listens. Barriers open when agents say that they did."""

    async def play(self) -> Ending:
        """Until every agent's stream has ended, which is when the run is over."""
        while not set(self._streams) <= self._left:
            self._changed.clear()
            await self._changed.wait()
        lost = self._machine.lost
        return failed(next(iter(lost.values()))) if lost and not self._completed else SUCCESS

    async def end(self, ending: Ending) -> None:
        """There is nothing to end: the run is not ours."""
        await self.leave()

    def _stop_lost(self, agent: str) -> None:
        """Whoever leads the run does."""

    def _take(self, item: Item) -> None:
        super()._take(item)
        if self._held is None and isinstance(item, ReleaseSeen) and item.stage_index not in self._opened:
            for made in made_again([item], self._plan.stages):
                if isinstance(made, BarrierReleased):
                    self._opened[made.stage_index] = made
                self._journal.emit(made)
        if isinstance(item, StateChanged) and item.state is AgentState.IDLE:
            self._changed.set()
