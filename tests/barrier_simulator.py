"""A fleet in virtual time: agents that are slow, freeze, fail, die, are cut off, and have work to do on objects.

It drives the same `Barriers`, `StageWork` and `Coordinator` as the conductor does, with the same messages, and keeps
what happened for tests to judge.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np

from sai3tui.config.model import AgentLossPolicy, BarrierType, Prepare, StageType
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import Resolved
from sai3tui.controller.barrier import BarrierRule, Fail, Release
from sai3tui.controller.barriers import Barriers, LeaveBehind
from sai3tui.controller.coordinator import WORK, Coordinator
from sai3tui.controller.liveness import Ask, LivenessRule, Lose, Rejoin
from sai3tui.controller.stage_work import StageWork
from sai3tui.errors import ErrorKind, Failure
from sai3tui.event_codec import failure_to_proto
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Known, overlay
from sai3tui.state.states import ObjectState
from sai3tui.state.wire import known_from_proto, slots_to_proto

STAGES = 4
BEAT_S = 1.0
END_S = 6_000.0
LAST_WORD_S = 15.0
"""So long after the last barrier has opened agents may take to have completed the run."""
OBJECTS = 24
SET = 0
AT_ONCE = 4
BROKEN = Failure(ErrorKind.AGENT_LOST, "the connection was reset")
CONFIG = """\
target: s3://10.0.0.1/bucket/
concurrency: 64
prepare:
  ensure_objects: [{{base_uri: "data/", count: {objects}, size_spec: 1000}}]
workload: [{{op: get, path: "data/*", weight: 1}}]
distributed:
  stages:
    - {{name: prepare, order: 1, type: prepare, completion: tasks_done}}
    - {{name: execute, order: 2, type: execute, completion: duration, duration: 1s}}
    - {{name: verify, order: 3, type: verify, completion: tasks_done}}
    - {{name: cleanup, order: 4, type: cleanup, completion: tasks_done}}
  agents: [{agents}]
"""
Place = tuple[str, int, int]
"""An object: whose space (empty: everybody's), slot and number in it."""
Message = tuple[str, int, pb.Assignment | None]
"""What an agent is told: `release`, `exclude` or `work`, of which stage."""


@cache
def base(agents: int) -> Resolved:
    listed = ", ".join(f'{{id: a{n}, address: "127.0.0.1:{n}"}}' for n in range(1, agents + 1))
    return load_resolved(CONFIG.format(objects=OBJECTS, agents=listed), "simulated.yaml").require()


@dataclass
class SimAgent:
    """One agent. Its troubles: `dies` at a time, does nothing in `frozen`, is cut off in `cut` (from, until), fails
    with `fault` in whatever it does from `fails` on."""

    name: str
    slow: float
    dies: float = float("inf")
    frozen: tuple[float, float] = (0.0, 0.0)
    cut: tuple[float, float] = (0.0, 0.0)
    fails: float = float("inf")
    fault: ErrorKind = ErrorKind.STORAGE
    mode: str = "getting ready"
    stage: int = 0
    sits_out: bool = False
    said: list[pb.AgentMessage] = field(default_factory=list)
    heard: int = 0
    """How much of that has been heard."""
    told: list[Message] = field(default_factory=list)
    streaming: bool = True
    busy_until: float = 0.0
    released: set[int] = field(default_factory=set)
    excluded: set[int] = field(default_factory=set)
    orders: dict[int, list[pb.Assignment]] = field(default_factory=dict)
    known_orders: set[tuple[int, int]] = field(default_factory=set)
    epoch: dict[int, int] = field(default_factory=dict)
    known: Known | None = None
    todo: list[tuple[int, int]] = field(default_factory=list)
    turn: int = 0

    def alive(self, now: float) -> bool:
        return now < self.dies

    def awake(self, now: float) -> bool:
        return self.alive(now) and not self.frozen[0] <= now < self.frozen[1]

    def reachable(self, now: float) -> bool:
        return self.alive(now) and not self.cut[0] <= now < self.cut[1]

    @property
    def sound(self) -> bool:
        return self.dies == self.fails == float("inf") and self.frozen == (0.0, 0.0) and self.cut == (0.0, 0.0)


class Simulation:
    """One run. `releases` and `failure` are how it went, `gone` who was lost or has failed, and when that was known;
    `missing` is what stages said that was left undone, `undone` what really was."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.policy = self.random.choice(list(BarrierType))
        on_loss = self.random.choice((AgentLossPolicy.DEFAULT, *AgentLossPolicy))
        self.liveness = LivenessRule(
            self.random.choice((1.0, 5.0)),
            self.random.randint(1, 4),
            self.random.choice((0.5, 3.0)),
            self.random.randint(0, 3),
        )
        self.wait_s = self.random.choice((5.0, 60.0))
        self.whole_s = self.random.choice((None, 400.0))
        count = self.random.randint(1, 7)
        self.shared = self.random.random() < 0.8
        self.resolved = self._resolved(base(count), on_loss, looks=self.random.random() < 0.5)
        self.on_loss = on_loss
        self.agents = {agent.id: self._agent(agent.id) for agent in self.resolved.agents}
        self.now = 0.0
        self.machine = Barriers(self.agents, 0.0)
        self.coordinator = Coordinator(self.resolved, run_id="", fresh=False, directory=None, note=lambda *_: None)
        self.work = StageWork(self.resolved, self.coordinator, self.machine, self._never, lambda _: None)
        self.releases: list[Release] = []
        self.released_at: list[float] = []
        self.failure: Failure | None = None
        self.failed_at = 0.0
        self.gone: dict[str, float] = {}
        self.lost: dict[str, float] = {}
        self.left: list[tuple[int, str]] = []
        self.waived: set[tuple[int, str]] = set()
        self.participants: list[tuple[str, ...]] = [tuple(self.agents)]
        self.arrivals: dict[int, set[str]] = {}
        self.missing: dict[int, int] = {}
        self.undone: dict[int, int] = {}
        self.misdirected: list[tuple[int, str]] = []
        """Orders to agents that take no part in the stage."""
        self._wanted: dict[int, set[Place]] = {}
        self._done: dict[int, set[Place]] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def _resolved(self, plan: Resolved, on_loss: AgentLossPolicy, *, looks: bool) -> Resolved:
        config = plan.config
        stages = tuple(replace(each, barrier=replace(each.barrier, type=self.policy)) for each in config.stages)
        prepare = replace(config.prepare or Prepare(), force_overwrite=not looks)
        fleet = replace(config.distributed, on_agent_loss=on_loss)
        config = replace(config, stages=stages, prepare=prepare, distributed=fleet)
        return replace(plan, config=config, shared=self.shared)

    def _agent(self, name: str) -> SimAgent:
        agent = SimAgent(name, self.random.choice((1.0, 1.0, 1.5, 10.0)))
        trouble = self.random.random()
        begin = self.random.uniform(0, 60)
        if trouble < 0.12:
            agent.dies = begin
        elif trouble < 0.24:
            agent.frozen = (begin, begin + self.random.uniform(0.5, 90))
        elif trouble < 0.36:
            agent.cut = (begin, begin + self.random.uniform(0.5, 30))
        elif trouble < 0.5:
            agent.fails = begin
            agent.fault = self.random.choice((ErrorKind.STORAGE, ErrorKind.RESOURCE, ErrorKind.CORRUPT))
        return agent

    @staticmethod
    async def _never(agent: str, order: pb.Assignment) -> None:
        raise AssertionError("orders are taken out of the outbox here")

    # --- the world

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def run(self) -> None:
        for agent in self.agents.values():
            self.after(self.random.uniform(0, 3), partial(self._get_ready, agent))
            self.after(0.0, partial(self._beat, agent))
            self.after(min(agent.dies, agent.cut[0] or END_S), partial(self._break, agent))
            if agent.frozen[1]:
                self.after(agent.frozen[1], partial(self._advance, agent))
        if self.random.random() < 0.1:
            self.after(self.random.uniform(5, 60), self._waive)
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
        if self.failure is None:
            self._complete()

    def _complete(self) -> None:
        """What the conductor does when the last barrier has opened."""
        ends = self.now + LAST_WORD_S
        while self._queue and self._queue[0][0] < ends:
            self.now, _, action = heapq.heappop(self._queue)
            action()
            for straggler in self.machine.stragglers():
                for name in straggler.agents:
                    self._tell(self.agents[name], ("exclude", straggler.index, None))

    def _begin(self, index: int) -> None:
        policy = self.policy if index else BarrierType.ALL_OR_NOTHING
        rule = BarrierRule(policy, str(index), self.wait_s, self.whole_s)
        self.machine.begin(index, rule, self.liveness, self.participants[index], self.now)

    def _waive(self) -> None:
        index = len(self.releases)
        name = self.random.choice(sorted(self.agents))
        if index:
            self.waived.add((index, name))
            self.machine.release_without(name)

    # --- what the conductor does

    def _act(self) -> None:
        if self.work.fatal is not None:
            self.failure, self.failed_at = self.work.fatal, self.now
            return
        for action in self.machine.actions(self.now):
            match action:
                case Ask(name, timeout):
                    self._ask(self.agents[name], timeout)
                case Rejoin(name):
                    self.after(self._delay(), partial(self._rejoin, self.agents[name]))
                case Lose(name, failure):
                    self.lost[name] = self.now
                    self._lose(name, failure)
                case LeaveBehind(index, names):
                    if index == len(self.releases):
                        self.left += [(index, name) for name in names]
                        self.work.leave_behind(names, self.now)
                    for name in names:
                        self._tell(self.agents[name], ("exclude", index, None))
                case Release():
                    self._release(action)
                case Fail(failure):
                    self.failure, self.failed_at = failure, self.now
        self._send()

    def _lose(self, name: str, failure: Failure) -> None:
        self.gone.setdefault(name, self.now)
        self.work.lose(name, failure, self.now)

    def _release(self, release: Release) -> None:
        index = len(self.releases)
        if index:
            self.missing[index] = sum(self.coordinator.undone().values())
            told = self.work.finish(index)[1]
            assert (told is not None) == (self.missing[index] > 0)
            self.undone[index] = len(self._wanted.get(index, set()) - self._done.get(index, set()))
        else:
            self.work.ready()
            self._send()
        self.releases.append(release)
        self.released_at.append(self.now)
        self.participants.append(release.arrived)
        if index < STAGES:
            stage = self.resolved.stages[index]
            self.work.begin(index + 1, stage, [a for a in release.arrived if a not in self.machine.lost])
            if stage.type is StageType.PREPARE:
                self._wanted[index + 1] = set(self._everything())
            self._send(first=stage.type in WORK and stage.type is not StageType.PREPARE)
        for name in release.arrived:
            self._tell(self.agents[name], ("release", index, None))
        if index < STAGES:
            self._begin(index + 1)

    def _everything(self) -> Iterator[Place]:
        owners = [""] if self.shared else [*self.agents]
        slots = len(self.agents) if self.shared else 1
        for owner in owners:
            for index in range(OBJECTS):
                yield owner, index % slots, index // slots

    def _send(self, *, first: bool = False) -> None:
        """Orders on their way. With the `first` of a stage what is to be done in it is known."""
        while not self.work.outbox.empty():
            for name, order in self.work.outbox.get_nowait():
                index = order.stage_index
                if index and (name in self.machine.lost or (index, name) in self.left):
                    self.misdirected.append((index, name))
                if index and name not in self.participants[index]:
                    self.misdirected.append((index, name))
                if first:
                    self._wanted.setdefault(index, set()).update(self._places(name, order))
                self._tell(self.agents[name], ("work", index, order))

    def _places(self, name: str, order: pb.Assignment) -> Iterator[Place]:
        """What of an order is to be done."""
        if not order.HasField("generation"):
            return
        known = known_from_proto(order.generation)
        take = WORK[self.resolved.stages[order.stage_index - 1].type]
        for each in known.record.holdings:
            states = known.states(each.set_id, each.slot)
            for k in range(each.first_k, each.end_k):
                if take[states.get(k)]:
                    yield "" if self.shared else name, each.slot, k

    def _hear(self, agent: SimAgent, number: int) -> None:
        if number != agent.heard or not agent.streaming:
            return
        agent.heard += 1
        message = pb.AgentMessage.FromString(agent.said[number].SerializeToString())
        self.machine.heard(agent.name, self.now)
        self.work.take(agent.name, message)
        body = message.WhichOneof("body")
        if body == "arrived":
            index = message.arrived.stage_index
            self.arrivals.setdefault(index, set()).add(agent.name)
            if self.work.replaced(index, agent.name) or self.work.through(index, agent.name):
                self.machine.arrived(agent.name, index, self.now)
        elif body == "state" and agent.name not in self.machine.lost:
            failure = Failure(ErrorKind(int(message.state.failure.kind)), "it failed")
            self.machine.gone(agent.name, failure)
            self._lose(agent.name, failure)
        self._send()

    # --- messages

    def _delay(self) -> float:
        return self.random.choice((0.001, 0.01, 0.2))

    def _say(self, agent: SimAgent, **body: object) -> None:
        agent.said.append(pb.AgentMessage(**body))  # type: ignore[arg-type]
        if agent.streaming and agent.reachable(self.now):
            self._carry(agent, partial(self._hear, agent, len(agent.said) - 1))

    def _tell(self, agent: SimAgent, message: Message) -> None:
        agent.told.append(message)
        if agent.streaming and agent.reachable(self.now):
            self._carry(agent, partial(self._told, agent, message))

    def _carry(self, agent: SimAgent, action: Callable[[], None]) -> None:
        """A stream keeps the order of what is said on it."""
        agent.busy_until = max(agent.busy_until, self.now + self._delay())
        self.after(agent.busy_until - self.now, action)

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
        for number in range(agent.heard, len(agent.said)):
            self._carry(agent, partial(self._hear, agent, number))
        for message in agent.told:
            self._carry(agent, partial(self._told, agent, message))

    # --- agents, as their runs go

    def _get_ready(self, agent: SimAgent) -> None:
        if not agent.awake(self.now):
            if agent.alive(self.now):
                self.after(agent.frozen[1] - self.now, lambda: self._get_ready(agent))
            return
        self._arrive(agent)

    def _told(self, agent: SimAgent, message: Message) -> None:
        kind, index, order = message
        if kind == "release":
            agent.released.add(index)
        elif kind == "exclude" and index >= agent.stage:
            agent.excluded.add(index)
        elif order is not None and (index, order.epoch) not in agent.known_orders:
            agent.known_orders.add((index, order.epoch))
            agent.orders.setdefault(index, []).append(order)
        self._advance(agent)

    def _advance(self, agent: SimAgent) -> None:
        """What it was told may let it go on."""
        if not agent.awake(self.now):
            return
        index = agent.stage
        if agent.mode == "at barrier":
            if index in agent.excluded or index in agent.released:
                agent.sits_out = index in agent.excluded
                if index == STAGES:
                    agent.mode = "completed"
                    return
                agent.stage += 1
                if agent.sits_out:
                    self._arrive(agent)
                    self._advance(agent)
                else:
                    self._begin_stage(agent)
            elif index and not agent.sits_out:
                self._take_up(agent)
        elif agent.mode in ("working", "waiting"):
            if index in agent.excluded:
                agent.turn += 1
                self._arrive(agent)
                self._advance(agent)
            elif agent.mode == "waiting":
                self._take_up(agent)

    def _begin_stage(self, agent: SimAgent) -> None:
        if self.resolved.stages[agent.stage - 1].type in WORK:
            agent.mode = "waiting"
            self._take_up(agent)
        else:
            agent.mode = "working"
            self._work_on(agent, partial(self._arrive, agent), 10)

    def _take_up(self, agent: SimAgent) -> None:
        orders = agent.orders.get(agent.stage)
        if not orders:
            return
        order = orders.pop(0)
        agent.epoch[agent.stage] = order.epoch
        agent.mode = "working"
        if order.survey:
            self._work_on(agent, partial(self._surveyed, agent, order), 5)
            return
        agent.todo = []
        if order.HasField("generation"):
            told = known_from_proto(order.generation)
            if agent.known is None or not order.added or agent.known.record.number != told.record.number:
                agent.known = told
            else:
                for each in told.record.holdings:
                    onto = agent.known.states(each.set_id, each.slot)
                    overlay(onto, told.states(each.set_id, each.slot), each.first_k, each.end_k)
            agent.todo = [(slot, k) for _, slot, k in self._places(agent.name, order)]
        self._work_on(agent, partial(self._step, agent), 1)

    def _work_on(self, agent: SimAgent, then: Callable[[], None], most_s: float) -> None:
        agent.turn += 1
        turn = agent.turn
        self.after(self.random.uniform(0.1, most_s) * agent.slow, lambda: self._worked(agent, turn, then))

    def _worked(self, agent: SimAgent, turn: int, then: Callable[[], None]) -> None:
        if turn != agent.turn or not agent.alive(self.now):
            return
        if not agent.awake(self.now):
            self.after(agent.frozen[1] - self.now, lambda: self._worked(agent, turn, then))
        elif self.now >= agent.fails:
            agent.mode = "failed"
            failure = failure_to_proto(Failure(agent.fault, "it failed"))
            self._say(agent, state=pb.StateChanged(state=pb.FAILED, stage_index=agent.stage, failure=failure))
        else:
            then()

    def _surveyed(self, agent: SimAgent, order: pb.Assignment) -> None:
        agent.mode = "waiting"
        self._say(agent, surveyed=pb.Surveyed(stage_index=agent.stage, epoch=order.epoch, begin=True))
        self._take_up(agent)

    def _step(self, agent: SimAgent) -> None:
        """A few objects more are done."""
        stage = self.resolved.stages[agent.stage - 1].type
        for slot, k in agent.todo[:AT_ONCE]:
            self._done.setdefault(agent.stage, set()).add(("" if self.shared else agent.name, slot, k))
            if stage is not StageType.VERIFY and agent.known is not None:
                state = ObjectState.CREATED if stage is StageType.PREPARE else ObjectState.DELETED
                agent.known.states(SET, slot).set(np.array([k], dtype=np.int64), state)
        del agent.todo[:AT_ONCE]
        self._say(agent, report=pb.Report(stage_index=agent.stage, states=self._states(agent)))
        if agent.todo:
            self._work_on(agent, partial(self._step, agent), 1)
        elif agent.orders.get(agent.stage):
            self._take_up(agent)
        else:
            self._arrive(agent)

    def _states(self, agent: SimAgent) -> pb.StateChanges | None:
        known = agent.known
        if known is None:
            return None
        return pb.StateChanges(generation=known.record.number, states=slots_to_proto(known.slots))

    def _arrive(self, agent: SimAgent) -> None:
        agent.mode = "at barrier"
        states = self._states(agent) if agent.stage else None
        epoch = agent.epoch.get(agent.stage, 0)
        self._say(agent, arrived=pb.Arrived(stage_index=agent.stage, epoch=epoch, states=states))
        self._advance(agent)
