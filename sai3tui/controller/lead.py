"""Who leads a run that we only watch, as its agents tell, and in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Lead:
    """Which controller leads (empty: none), and since when on our clock, in nanoseconds (0: nobody has told us yet)."""

    by: str = ""
    since_ns: int = 0

    @property
    def sentence(self) -> str:
        """`anna@lab, pid 7 leads this run since 12:03:11 UTC`."""
        who = (
            f"{shown_name(self.by)} leads"
            if self.by
            else "nobody leads"
            if self.since_ns
            else "another controller leads"
        )
        since = f" since {datetime.fromtimestamp(self.since_ns / 1e9, UTC):%H:%M:%S} UTC" if self.since_ns else ""
        return f"{who} this run{since}"


@dataclass(frozen=True, slots=True)
class Claim:
    """By what we lead: the `term`, which is one more than any that agents had told of (0: we began the run), and
    whether we took it over. Of two that come at once agents let the same one lead."""

    term: int = 0
    take_over: bool = False


BEGAN = Claim()


class Leads:
    """What each agent has told last. They hear of a new leader one after the other."""

    def __init__(self) -> None:
        self._told: dict[str, Lead] = {}
        self._lost: set[str] = set()

    def tell(self, agent: str, lead: Lead) -> None:
        self._told[agent] = lead
        self._drop()

    def lose(self, agent: str) -> None:
        """It tells nothing any more: what it told last counts only until another one has told anything."""
        self._lost.add(agent)
        self._drop()

    def _drop(self) -> None:
        living = {agent: lead for agent, lead in self._told.items() if agent not in self._lost}
        self._told = living or self._told

    @property
    def lead(self) -> Lead:
        """Whoever came last; nobody only if nobody leads at any agent."""
        told = self._told.values()
        named = [lead for lead in told if lead.by]
        if not named:
            return max(told, key=lambda lead: lead.since_ns, default=Lead())
        newest = max(named, key=lambda lead: lead.since_ns).by
        return min((lead for lead in named if lead.by == newest), key=lambda lead: lead.since_ns)


def shown_name(controller: str) -> str:
    """A controller's name without what makes it unique, which says nothing to people."""
    head, _, last = controller.rpartition(", ")
    return head if head and not last.startswith("pid ") else controller
