"""All barriers of a run as one pure machine: who takes part, who lives, who is waited for, and what to do next.

What happens and the clock go in, actions come out. It does no I/O and starts nothing: the conductor and the simulator
of the tests drive the same code. Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sai3tui.config.model import Barrier
from sai3tui.controller.barrier import BarrierFacts, BarrierRule, Decision, Fail, Release, Wait, decide
from sai3tui.controller.liveness import Ask, Liveness, LivenessRule, Lose, Rejoin
from sai3tui.errors import Failure


@dataclass(frozen=True, slots=True)
class LeaveBehind:
    """Go on without these agents, which live: they are to stop stage `index`, and take part again from the next barrier
    on that they reach in time. The barrier opens once nothing that they leave keeps it shut."""

    index: int
    agents: tuple[str, ...]


Action = Ask | Rejoin | Lose | LeaveBehind | Release | Fail


def liveness_rule(barrier: Barrier) -> LivenessRule:
    return LivenessRule(
        barrier.heartbeat_interval, barrier.missed_threshold, barrier.query_timeout, barrier.query_retries
    )


class Known(StrEnum):
    """What is known of how long a barrier waits: all that there is; only that the leader knows; that nobody leads, so
    that it stays shut."""

    WHOLE = "whole"
    BY_LEADER = "by the leader"
    NOBODY = "nobody leads"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The barrier that is being waited at, for whoever shows it. Times are seconds.

    `arrived` maps who is here to how long after the first one it came; `waited_s` is since that first arrival, None if
    nobody has arrived. `left_s` is how long is waited yet, None without a bound, and `at_end` what happens then.
    `pausing`: it will not open before somebody lets it; `held`: it could open now. `missed` counts each agent's missing
    heartbeats in a row; at `threshold` it is asked whether it lives.
    """

    index: int
    name: str
    policy: str
    awaited: tuple[str, ...]
    arrived: Mapping[str, float]
    waited_s: float | None
    left_s: float | None
    at_end: str
    pausing: bool
    held: bool
    excluded: tuple[str, ...]
    missed: Mapping[str, int]
    threshold: int
    known: Known = Known.WHOLE
    """Whether what somebody who leads decides is known: `left_s`, `at_end`, `pausing` and `held`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody who leads decides at the barrier `index`, and who watches cannot know: until when it waits on the
    monotonic clock (None: without a bound), whether barriers stay `shut` and this one is `held` by nothing else, and
    for whom nobody waits."""

    index: int
    until: float | None
    shut: bool
    held: bool
    without: tuple[str, ...]
    excused: tuple[str, ...]


class Barriers:
    """Begin each barrier with `begin`; then ask `actions` whenever something happened, and at `due`."""

    def __init__(self, agents: Iterable[str], now: float) -> None:
        self._lives = {agent: Liveness(agent, now) for agent in agents}
        self._arrived: dict[int, dict[str, float]] = {}
        self._settled: set[str] = set()
        """Agents that are through: they need not live any more."""
        self._excused: set[str] = set()
        self._excluded: list[str] = []
        """Left behind at a barrier before, and not back."""
        self._late: list[str] = []
        """Left behind at the current one."""
        self._left_behind: set[str] = set()
        self._opened: dict[int, frozenset[str]] = {}
        self._stragglers: list[tuple[int, str]] = []
        """Who has come to a barrier that had opened without it, and has to go on to the next one."""
        self._rule: BarrierRule | None = None
        self._liveness = LivenessRule()
        self._index = 0
        self._participants: tuple[str, ...] = ()
        self._began = now
        self._since = now
        self._longer_s = 0.0
        self._without: set[str] = set()
        self._paused = False
        # What holds until something happens or its time comes: to ask everybody at every turn costs too much in a large
        # fleet.
        self._quiet_until = -math.inf
        self._wait: Wait | None = None
        self._lost: Mapping[str, Failure] | None = None

    # --- what happens

    def begin(self, index: int, rule: BarrierRule, liveness: LivenessRule, agents: tuple[str, ...], now: float) -> None:
        """From now on `agents` work towards barrier `index`."""
        self._index, self._rule, self._liveness = index, rule, liveness
        self._participants = tuple(agent for agent in agents if agent not in self._late)
        self._began = self._since = now
        self._longer_s = 0.0
        self._without.clear()
        self._anew()

    def arrived(self, agent: str, index: int, now: float) -> None:
        self._arrived.setdefault(index, {}).setdefault(agent, now)
        self._wait = None
        if agent not in self._opened.get(index, (agent,)):
            self._stragglers.append((index, agent))

    def takes_back(self, agent: str, now: float) -> None:
        """It has got more to do, wherever it had arrived; those who are here wait for it anew."""
        self._since = now
        for arrived in self._arrived.values():
            arrived.pop(agent, None)
        self._wait = None

    def leave_behind(self, agent: str) -> None:
        """Nobody waits for it at the current barrier, nor at the next one."""
        if agent not in self._late:
            self._participants = tuple(each for each in self._participants if each != agent)
            self._late.append(agent)
            self._left_behind.add(agent)
            self._wait = None

    def excuse(self, agent: str) -> None:
        """Nobody waits for this lost agent: others do its work, or it is to be done without it."""
        self._excused.add(agent)
        self._wait = None

    def heard(self, agent: str, now: float) -> None:
        life = self._lives[agent]
        if life.broken is not None or life.rejoining:
            self._anew()
        # Else nothing is due sooner by that.
        life.heard(now)

    def broke(self, agent: str, failure: Failure, now: float) -> None:
        self._lives[agent].broke(now, failure)
        self._anew()

    def broken(self, agent: str) -> Failure | None:
        """Why its stream has ended, until another one is open."""
        return self._lives[agent].broken

    def answered(self, agent: str, now: float) -> None:
        self._lives[agent].answered(now)
        self._anew()

    def unheard(self, agent: str, now: float) -> None:
        self._lives[agent].unheard(now)
        self._anew()

    def gone(self, agent: str, failure: Failure) -> None:
        """It has failed or ended the run: no question of whether it lives."""
        self._lives[agent].give_up(failure)
        self._anew()

    def opened(self, index: int, arrived: tuple[str, ...], missing: tuple[str, ...]) -> None:
        """A barrier that another controller opened."""
        late = [agent for agent in missing if self._lives[agent].lost is None]
        self._left_behind.update(late)
        self._open(index, arrived, late)

    def _open(self, index: int, arrived: Iterable[str], late: Iterable[str]) -> None:
        self._opened[index] = frozenset(arrived)
        here = self._opened[index]
        self._excluded = [agent for agent in dict.fromkeys((*self._excluded, *late)) if agent not in here]
        self._late.clear()
        self._wait = None
        # Who is left behind and here all the same has not heard of it.
        self._stragglers += [(index, agent) for agent in self._arrived.get(index, ()) if agent not in here]

    @property
    def excluded(self) -> tuple[str, ...]:
        """Agents that were left behind and have not come back since."""
        return tuple(self._excluded)

    def settled(self, agent: str) -> None:
        """It has completed the run."""
        self._settled.add(agent)

    # --- steering

    def wait_longer(self, seconds: float) -> None:
        """Of the current barrier."""
        self._longer_s += seconds
        self._wait = None

    def release_without(self, agent: str) -> None:
        """Do not wait for it at the current barrier."""
        self._without.add(agent)
        self._wait = None

    def pause(self) -> None:
        """Open no barrier any more."""
        self._paused = True
        self._wait = None

    def go_on(self) -> None:
        self._paused = False
        self._wait = None

    @property
    def agents(self) -> Collection[str]:
        """All that there are, lost ones included."""
        return self._lives.keys()

    @property
    def index(self) -> int:
        """Of the current barrier, or the last one."""
        return self._index

    @property
    def excused(self) -> frozenset[str]:
        """Lost agents that nobody waits for."""
        return frozenset(self._excused)

    @property
    def paused(self) -> bool:
        return self._paused

    # --- what to do

    def actions(self, now: float) -> list[Action]:
        """What is to be done now. A barrier that opens or fails is told once: `begin` the next one then."""
        found: list[Action] = [*self.signs(now)]
        if any(isinstance(step, Lose) for step in found):
            # First whoever drives us says what the loss means, and whether anybody is to wait for the work.
            return found
        found += self.stragglers()
        decision = self._decide(now)
        if isinstance(decision, Release):
            late = tuple(agent for agent in decision.late if agent not in self._late)
            if late:
                # Likewise: what they have not done may be for the others.
                for agent in late:
                    self.leave_behind(agent)
                return [*found, LeaveBehind(self._index, late)]
            self._open(self._index, decision.arrived, decision.late)
        if isinstance(decision, Release | Fail):
            self._rule = None
            found.append(decision)
        return found

    def stragglers(self) -> list[LeaveBehind]:
        """The part of `actions` about those who come to a barrier that has opened without them. Each is told once."""
        late, self._stragglers = self._stragglers, []
        return [LeaveBehind(index, (agent,)) for index, agent in late if agent not in self.lost]

    def signs(self, now: float) -> list[Ask | Rejoin | Lose]:
        """The part of `actions` that says who lives, for those who only watch: a barrier opens as others have it."""
        if self._rule is None or now < self._quiet_until:
            return []
        steps = (life.next(self._liveness, now) for agent, life in self._lives.items() if agent not in self._settled)
        found = [step for step in steps if step is not None]
        if found:
            self._anew()
        self._quiet_until = self._first_due(now)
        return found

    def outlook(self, now: float) -> tuple[float | None, Terms | None]:
        """When to ask for `actions` again if nothing happens before, and the terms of the current barrier; None
        between barriers."""
        decision = self._decide(now)
        if isinstance(decision, Release | Fail):
            return now, None
        bounds = (decision.until if decision is not None else None, self.signs_due(now))
        due = min((bound for bound in bounds if bound is not None), default=None)
        if decision is None:
            return due, None
        without, excused = tuple(sorted(self._without)), tuple(sorted(self._excused))
        return due, Terms(self._index, decision.until, self._paused, decision.paused, without, excused)

    def signs_due(self, now: float) -> float | None:
        """When to ask for `signs` again if nothing happens before; not later than there are any."""
        if self._rule is None:
            return None
        due = self._quiet_until if now < self._quiet_until else self._first_due(now)
        return due if due < math.inf else None

    @property
    def lost(self) -> Mapping[str, Failure]:
        if self._lost is None:
            self._lost = {agent: life.lost for agent, life in self._lives.items() if life.lost is not None}
        return self._lost

    @property
    def late(self) -> tuple[str, ...]:
        """Who was left behind at the current barrier, which has not opened."""
        return tuple(self._late)

    @property
    def completed(self) -> frozenset[str]:
        """Agents that have completed the run."""
        return frozenset(self._settled)

    @property
    def complete(self) -> bool:
        """Whether no agent was lost or left behind so far."""
        return not self.lost and not self._left_behind

    def waiting(self, now: float) -> Waiting | None:
        """What the barrier waits for; None between barriers."""
        decision = self._decide(now)
        if self._rule is None or not isinstance(decision, Wait):
            return None
        lost = self.lost
        here = {agent: at for agent, at in self._arrived.get(self._index, {}).items() if agent not in lost}
        first = min(here.values(), default=None)
        return Waiting(
            self._index,
            self._rule.name,
            self._rule.policy.value,
            decision.missing,
            {agent: at - first for agent, at in here.items()} if first is not None else {},
            max(0.0, now - first) if first is not None else None,
            max(0.0, decision.until - now) if decision.until is not None else None,
            _consequence(decide(self._rule, self._facts(), decision.until)) if decision.until is not None else "",
            self._paused,
            decision.paused,
            (*self._excluded, *self._late),
            {agent: life.missed(self._liveness, now) for agent, life in self._lives.items()},
            self._liveness.missed_threshold,
        )

    def watched(self, now: float, told: Terms | None, *, led: bool) -> Waiting | None:
        """`waiting` for who only watches, whose machine is paused: `told` are the leader's terms, as far as they are
        known, and `led` says whether anybody leads."""
        waiting = self.waiting(now)
        if waiting is None or self._rule is None:
            return None
        none = replace(waiting, left_s=None, at_end="", pausing=False, held=False)
        if not led:
            return replace(none, known=Known.NOBODY)
        if told is None or told.index != waiting.index:
            return replace(none, known=Known.BY_LEADER)
        facts = replace(self._facts(), paused=told.shut)
        held = told.held or (told.shut and waiting.held)
        if told.until is None or held:
            return replace(none, pausing=told.shut, held=held)
        left_s, then = max(0.0, told.until - now), _consequence(decide(self._rule, facts, math.inf))
        return replace(none, left_s=left_s, at_end=then, pausing=told.shut)

    def _anew(self) -> None:
        """Somebody may be lost, or something is due sooner than was thought."""
        self._quiet_until = -math.inf
        self._wait = None
        self._lost = None

    def _first_due(self, now: float) -> float:
        due = (life.due(self._liveness, now) for agent, life in self._lives.items() if agent not in self._settled)
        return min((bound for bound in due if bound is not None), default=math.inf)

    def _decide(self, now: float) -> Decision | None:
        if self._rule is None:
            return None
        waits = self._wait
        if waits is not None and (waits.until is None or now < waits.until):
            return waits
        decision = decide(self._rule, self._facts(), now)
        self._wait = decision if isinstance(decision, Wait) else None
        return decision

    def _facts(self) -> BarrierFacts:
        return BarrierFacts(
            tuple(agent for agent in self._participants if agent not in self._excused),
            self._began,
            self._arrived.get(self._index, {}),
            self.lost,
            tuple(self._excluded),
            tuple(self._late),
            len(self._lives),
            self._since,
            self._longer_s,
            frozenset(self._without),
            self._paused,
        )


def _consequence(decision: Decision) -> str:
    match decision:
        case Release(late=late):
            return f"it opens without {', '.join(late)}"
        case Wait(paused=True):
            return "nobody else is waited for, and it stays shut"
        case _:
            return "the run fails"
