"""A fleet in virtual time: agents that are slow, freeze, die, are cut off, and messages that overtake each other.

It drives the same `Barriers` as the conductor does, and keeps what happened for tests to judge.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sai3tui.config.model import BarrierType
from sai3tui.controller.barrier import BarrierRule, Fail, Release
from sai3tui.controller.barriers import Barriers, LeaveBehind
from sai3tui.controller.liveness import Ask, LivenessRule, Lose, Rejoin
from sai3tui.errors import ErrorKind, Failure

STAGES = 4
BEAT_S = 1.0
END_S = 3_000.0
BROKEN = Failure(ErrorKind.AGENT_LOST, "the connection was reset")


@dataclass
class SimAgent:
    """One agent. Its troubles: `dies` at a time, does nothing in `frozen`, is cut off in `cut` (from, until)."""

    name: str
    slow: float
    dies: float = float("inf")
    frozen: tuple[float, float] = (0.0, 0.0)
    cut: tuple[float, float] = (0.0, 0.0)
    stage: int = 0
    said: list[int] = field(default_factory=list)
    streaming: bool = True
    busy: int = 0

    def alive(self, now: float) -> bool:
        return now < self.dies

    def awake(self, now: float) -> bool:
        return self.alive(now) and not self.frozen[0] <= now < self.frozen[1]

    def reachable(self, now: float) -> bool:
        return self.alive(now) and not self.cut[0] <= now < self.cut[1]

    @property
    def sound(self) -> bool:
        return self.dies == float("inf") and self.frozen == (0.0, 0.0) and self.cut == (0.0, 0.0)


class Simulation:
    """One run. `releases` and `failure` are how it went, `lost` who was given up and when."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.policy = self.random.choice(list(BarrierType))
        self.liveness = LivenessRule(
            self.random.choice((1.0, 5.0)),
            self.random.randint(1, 4),
            self.random.choice((0.5, 3.0)),
            self.random.randint(0, 3),
        )
        self.wait_s = self.random.choice((5.0, 60.0))
        self.whole_s = self.random.choice((None, 200.0))
        self.agents = {name: self._agent(name) for name in (f"a{n}" for n in range(1, self.random.randint(2, 8)))}
        self.now = 0.0
        self.machine = Barriers(self.agents, 0.0)
        self.releases: list[Release] = []
        self.released_at: list[float] = []
        self.failure: Failure | None = None
        self.failed_at = 0.0
        self.lost: dict[str, float] = {}
        self.participants: list[tuple[str, ...]] = [tuple(self.agents)]
        self.arrivals: dict[int, set[str]] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def _agent(self, name: str) -> SimAgent:
        agent = SimAgent(name, self.random.choice((1.0, 1.0, 1.5, 10.0)))
        trouble = self.random.random()
        begin = self.random.uniform(0, 60)
        if trouble < 0.12:
            agent.dies = begin
        elif trouble < 0.24:
            agent.frozen = (begin, begin + self.random.uniform(0.5, 60))
        elif trouble < 0.36:
            agent.cut = (begin, begin + self.random.uniform(0.5, 30))
        return agent

    # --- the world

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def run(self) -> None:
        for agent in self.agents.values():
            self.after(self.random.uniform(0, 3), partial(self._arrive, agent, 0))
            self.after(0.0, partial(self._beat, agent))
            self.after(min(agent.dies, agent.cut[0] or END_S), partial(self._break, agent))
        self._begin(0)
        while self.failure is None and len(self.releases) <= STAGES:
            due, _ = self.machine.outlook(self.now)
            at = self._queue[0][0] if self._queue else END_S
            if due is not None and due < at:
                self.now = max(self.now, due)
            elif self._queue:
                self.now, _, action = heapq.heappop(self._queue)
                action()
            if self.now > END_S:
                raise AssertionError("the run does not come to an end")
            self._act()

    def _begin(self, index: int) -> None:
        rule = BarrierRule(self.policy, str(index), self.wait_s, self.whole_s)
        self.machine.begin(index, rule, self.liveness, self.participants[index], self.now)

    def _act(self) -> None:
        for action in self.machine.actions(self.now):
            match action:
                case Ask(name, timeout):
                    self._ask(self.agents[name], timeout)
                case Rejoin(name):
                    self.after(self._delay(), partial(self._rejoin, self.agents[name]))
                case Lose(name, _):
                    self.lost[name] = self.now
                case LeaveBehind(index, names):
                    for name in names:
                        # It stops, and waits at the next barrier.
                        self.after(self._delay(), partial(self._arrive, self.agents[name], index + 1))
                case Release():
                    self._release(action)
                case Fail(failure):
                    self.failure, self.failed_at = failure, self.now

    def _release(self, release: Release) -> None:
        index = len(self.releases)
        self.releases.append(release)
        self.released_at.append(self.now)
        self.participants.append(release.arrived)
        for name in release.arrived:
            self.after(self._delay(), partial(self._work, self.agents[name], index + 1))
        if index < STAGES:
            self._begin(index + 1)

    def _delay(self) -> float:
        return self.random.choice((0.001, 0.01, 0.2))

    # --- agents

    def _work(self, agent: SimAgent, stage: int) -> None:
        agent.busy = stage
        self.after(self.random.uniform(1, 10) * agent.slow, lambda: self._arrive(agent, stage))

    def _arrive(self, agent: SimAgent, index: int) -> None:
        if not agent.awake(self.now):
            if agent.alive(self.now):
                self.after(agent.frozen[1] - self.now, lambda: self._arrive(agent, index))
            return
        if index in agent.said or index < max(agent.said, default=0):
            return
        agent.said.append(index)
        self._tell(agent, index)

    def _tell(self, agent: SimAgent, index: int) -> None:
        if agent.streaming and agent.reachable(self.now):
            self.after(self._delay(), lambda: self._hear_arrival(agent, index))

    def _hear_arrival(self, agent: SimAgent, index: int) -> None:
        self.arrivals.setdefault(index, set()).add(agent.name)
        self.machine.heard(agent.name, self.now)
        self.machine.arrived(agent.name, index, self.now)

    def _beat(self, agent: SimAgent) -> None:
        if agent.alive(self.now):
            if agent.streaming and agent.awake(self.now) and agent.reachable(self.now):
                self.after(self._delay(), lambda: self.machine.heard(agent.name, self.now))
            self.after(BEAT_S, lambda: self._beat(agent))

    def _break(self, agent: SimAgent) -> None:
        if agent.dies < float("inf") or agent.cut != (0.0, 0.0):
            agent.streaming = False
            if self.random.random() < 0.7:
                # Else it is only silence that tells.
                self.machine.broke(agent.name, BROKEN, self.now)

    def _ask(self, agent: SimAgent, timeout_s: float) -> None:
        way = self._delay()
        if agent.reachable(self.now) and agent.awake(self.now + way) and 2 * way < timeout_s:
            self.after(2 * way, lambda: self._answer(agent))
        else:
            self.after(timeout_s, lambda: self.machine.unheard(agent.name, self.now))

    def _answer(self, agent: SimAgent) -> None:
        self.machine.answered(agent.name, self.now)
        if not agent.streaming:
            # As gRPC does: an answer on the channel shows that the old stream is dead.
            self.machine.broke(agent.name, BROKEN, self.now)
            self.machine.answered(agent.name, self.now)

    def _rejoin(self, agent: SimAgent) -> None:
        if not agent.reachable(self.now):
            self.machine.broke(agent.name, BROKEN, self.now)
            return
        agent.streaming = True
        self.machine.heard(agent.name, self.now)
        for index in agent.said:
            self._tell(agent, index)
