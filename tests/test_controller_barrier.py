"""The barrier's decisions, for every combination that matters and for any that hypothesis thinks of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sai3tui.config.model import AgentLossPolicy, BarrierType
from sai3tui.controller.barrier import BarrierFacts, BarrierRule, Decision, Fail, Release, Wait, decide
from sai3tui.controller.barriers import Action, Barriers, Known, LeaveBehind, Terms, Waiting
from sai3tui.controller.liveness import Ask, LivenessRule, Rejoin
from sai3tui.errors import ErrorKind, Failure
from tests.barrier_simulator import END_S, STAGES, Simulation

FLEET = tuple(f"a{n}" for n in range(1, 6))
GONE = Failure(ErrorKind.AGENT_LOST, "reset")


def ask(
    policy: BarrierType, arrived: dict[str, float], lost: tuple[str, ...], now: float, whole_s: float | None = None
) -> Decision:
    facts = BarrierFacts(FLEET, 0.0, arrived, dict.fromkeys(lost, GONE))
    return decide(BarrierRule(policy, "1 (prepare)", 10.0, whole_s), facts, now)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[str, float], tuple[str, ...], float]:
    arrived = draw(st.dictionaries(st.sampled_from(FLEET), st.floats(0, 100)))
    lost = draw(st.lists(st.sampled_from(FLEET), unique=True))
    now = draw(st.floats(max(arrived.values(), default=0.0), 1000))
    return arrived, tuple(lost), now


def enough(policy: BarrierType, count: int) -> bool:
    return {
        BarrierType.ALL_OR_NOTHING: count == len(FLEET),
        BarrierType.MAJORITY: 2 * count > len(FLEET),
        BarrierType.BEST_EFFORT: count >= 1,
    }[policy]


@given(st.sampled_from(BarrierType), situations())
def test_it_never_opens_below_its_quorum(
    policy: BarrierType, situation: tuple[dict[str, float], tuple[str, ...], float]
) -> None:
    arrived, lost, now = situation
    decision = ask(policy, arrived, lost, now)
    if isinstance(decision, Release):
        present = set(arrived) - set(lost)
        assert set(decision.arrived) == present
        assert enough(policy, len(present))
        assert set(decision.arrived) | set(decision.late) | set(decision.lost) == set(FLEET)


@given(st.sampled_from(BarrierType), situations())
def test_those_who_arrived_never_wait_longer_than_allowed(
    policy: BarrierType, situation: tuple[dict[str, float], tuple[str, ...], float]
) -> None:
    arrived, lost, now = situation
    decision = ask(policy, arrived, lost, now)
    present = [when for agent, when in arrived.items() if agent not in lost]
    if isinstance(decision, Wait):
        assert decision.until is None or now < decision.until
        assert not present or decision.until == min(present) + 10.0
        assert decision.missing


@given(st.sampled_from(BarrierType), situations())
def test_the_whole_time_is_a_bound_even_if_nobody_comes(
    policy: BarrierType, situation: tuple[dict[str, float], tuple[str, ...], float]
) -> None:
    arrived, lost, _ = situation
    assert not isinstance(ask(policy, arrived, lost, 2000.0, whole_s=60.0), Wait)


@given(st.sampled_from(BarrierType), situations())
def test_more_arrivals_never_turn_an_open_barrier_into_a_failed_one(
    policy: BarrierType, situation: tuple[dict[str, float], tuple[str, ...], float]
) -> None:
    arrived, lost, now = situation
    if isinstance(ask(policy, arrived, lost, now), Release):
        everybody = dict.fromkeys(FLEET, now) | arrived
        assert isinstance(ask(policy, everybody, lost, now), Release)


def test_all_or_nothing_fails_with_the_reason_of_the_loss() -> None:
    decision = ask(BarrierType.ALL_OR_NOTHING, dict.fromkeys(FLEET, 1.0), ("a2",), 2.0)
    assert decision == Fail(GONE)


def test_a_majority_goes_on_without_the_lost_but_not_below_half() -> None:
    here = dict.fromkeys(("a1", "a2", "a3"), 1.0)
    assert isinstance(ask(BarrierType.MAJORITY, here, ("a4", "a5"), 1.0), Release)
    assert isinstance(ask(BarrierType.MAJORITY, here, ("a3", "a4", "a5"), 1.0), Fail)


def test_a_majority_is_one_of_all_agents_of_the_run() -> None:
    rule = BarrierRule(BarrierType.MAJORITY, "2", 10.0)
    lost = {"a4": GONE}
    facts = BarrierFacts(FLEET[2:4], 0.0, {"a3": 1.0}, lost, fleet=5)
    decision = decide(rule, facts, 1.0)
    assert isinstance(decision, Fail)
    assert "no majority of the run's 5 agents is left" in decision.failure.message
    # Who was left behind may come back, and is waited for then.
    awaited = BarrierFacts(FLEET[2:4], 0.0, {"a3": 1.0}, lost, ("a1", "a2"), fleet=5)
    assert decide(rule, awaited, 1.0) == Wait(("a1", "a2"), 11.0)
    assert isinstance(decide(rule, awaited, 11.0), Fail)
    back = BarrierFacts(FLEET[2:4], 0.0, dict.fromkeys(FLEET[:3], 1.0), lost, ("a1", "a2"), fleet=5)
    assert isinstance(decide(rule, back, 1.0), Release)


def test_those_who_are_here_wait_anew_for_who_has_got_more_to_do() -> None:
    rule = BarrierRule(BarrierType.BEST_EFFORT, "1", 10.0)
    facts = BarrierFacts(FLEET, 0.0, {"a1": 1.0}, since=9.0)
    assert decide(rule, facts, 12.0) == Wait(FLEET[1:], 19.0)


def test_who_is_late_is_left_behind_before_the_barrier_opens() -> None:
    machine = Barriers(FLEET, 0.0)
    machine.begin(1, BarrierRule(BarrierType.BEST_EFFORT, "1", 10.0), LivenessRule(), FLEET, 0.0)
    for agent in FLEET[:4]:
        machine.arrived(agent, 1, 1.0)
    assert machine.actions(11.0) == [LeaveBehind(1, ("a5",))]
    # One of the others gets its work.
    machine.takes_back("a1", 11.0)
    assert machine.actions(11.0) == []
    machine.arrived("a5", 1, 12.0)
    machine.arrived("a1", 1, 13.0)
    (released,) = machine.actions(13.0)
    assert isinstance(released, Release)
    assert (set(released.arrived), released.late) == (set(FLEET[:4]), ("a5",))
    # It is there though it was left behind: it has not heard of it.
    machine.begin(2, BarrierRule(BarrierType.BEST_EFFORT, "2", 10.0), LivenessRule(), released.arrived, 13.0)
    assert machine.actions(13.0) == [LeaveBehind(1, ("a5",))]
    machine.arrived("a5", 2, 14.0)
    for agent in FLEET[:4]:
        machine.arrived(agent, 2, 14.0)
    (again,) = machine.actions(14.0)
    assert isinstance(again, Release)
    assert set(again.arrived) == set(FLEET)


def test_late_ones_are_named_when_a_majority_goes_on_without_them() -> None:
    here = dict.fromkeys(("a1", "a2", "a3"), 1.0)
    assert isinstance(ask(BarrierType.MAJORITY, here, (), 10.9), Wait)
    decision = ask(BarrierType.MAJORITY, here, (), 11.0)
    assert isinstance(decision, Release)
    assert decision.late == ("a4", "a5")
    assert "a4, a5" in decision.reason


def test_a_timeout_says_who_is_missing_and_which_setting_it_was() -> None:
    decision = ask(BarrierType.ALL_OR_NOTHING, {"a1": 1.0}, (), 11.0)
    assert isinstance(decision, Fail)
    assert decision.failure.kind is ErrorKind.TIMEOUT
    assert "a2, a3, a4, a5" in decision.failure.message
    assert "1 (prepare)" in decision.failure.message
    assert "agent_barrier_timeout" in decision.failure.hint


async def judge(seed: int) -> str:
    """Run a simulated fleet and check what must hold of any; how it ended."""
    sim = Simulation(seed)
    sim.run()
    await sim.coordinator.close()
    for index, release in enumerate(sim.releases):
        expected = sim.participants[index]
        at = sim.released_at[index]
        gone = {agent for agent, when in sim.gone.items() if when <= at}
        waived = {agent for barrier, agent in sim.waived if barrier == index}
        # Who is released has arrived there, and was not given up before.
        assert set(release.arrived) <= sim.arrivals.get(index, set()), seed
        assert not any(sim.gone.get(agent, END_S) < at for agent in release.arrived), seed
        assert set(expected) <= {*release.arrived, *release.late} | gone, seed
        if sim.policy is BarrierType.ALL_OR_NOTHING or not index:
            assert set(release.late) <= waived, seed
        elif sim.policy is BarrierType.MAJORITY and not waived:
            assert 2 * len(release.arrived) > len(sim.agents), seed
        assert release.arrived, seed
        # Every object has been dealt with, or the stage says that some have not.
        if index:
            assert sim.undone[index] <= sim.missing[index], (seed, index)
            if sim.shared and sim.on_loss not in (AgentLossPolicy.CONTINUE, AgentLossPolicy.FAIL):
                assert sim.missing[index] == 0, (seed, index)
    # Work is for those who take part.
    assert sim.misdirected == [], seed
    for name, agent in sim.agents.items():
        # Nobody is given up who was always there; who died is not released for ever.
        assert not (agent.sound and name in sim.gone), seed
        patience = sim.liveness.silence_s + (sim.liveness.query_retries + 1) * (sim.liveness.query_timeout + 1) + 10
        ended = sim.failed_at if sim.failure else sim.released_at[-1]
        if agent.dies + patience < ended:
            assert name in sim.gone, seed
        there = agent.frozen[1] < ended and agent.dies == agent.fails == float("inf")
        if there and name not in sim.gone and agent.cut == (0.0, 0.0) and sim.failure is None:
            # Also who slept while the others went on.
            assert agent.mode == "completed", (seed, name)
        if name in sim.gone and agent.mode == "failed" and name not in sim.lost and agent.fault is ErrorKind.CORRUPT:
            assert sim.failure is not None, seed
            assert sim.failure.kind is ErrorKind.CORRUPT, seed
    if sim.failure is None:
        assert len(sim.releases) == STAGES + 1, seed
        if sim.on_loss is AgentLossPolicy.FAIL:
            working = {a for a, when in sim.gone.items() if when < sim.released_at[-1]}
            assert not working, seed
        return "through"
    return sim.failure.kind.name


@pytest.mark.parametrize("batch", range(4))
async def test_simulated_fleets_come_to_an_end_that_the_rules_allow(batch: int) -> None:
    ends = Counter([await judge(seed) for seed in range(batch * 40, batch * 40 + 40)])
    assert ends["through"] > 0
    assert ends["AGENT_LOST"] + ends["TIMEOUT"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
async def test_ten_thousand_simulated_fleets(batch: int, record_property: Callable[[str, object], None]) -> None:
    ends = Counter([await judge(seed) for seed in range(1000 + batch * 500, 1000 + batch * 500 + 500)])
    for end, fleets in sorted(ends.items()):
        record_property(f"simulated fleets, {end}", fleets)


def test_nobody_waits_for_whom_somebody_released_without() -> None:
    facts = BarrierFacts(FLEET, 0.0, dict.fromkeys(FLEET[:4], 1.0), without=frozenset({"a5"}))
    rule = BarrierRule(BarrierType.ALL_OR_NOTHING, "1", 10.0)
    decision = decide(rule, facts, 2.0)
    assert isinstance(decision, Release)
    assert (decision.arrived, decision.late) == (FLEET[:4], ("a5",))


def test_waiting_longer_moves_the_bound_and_a_pause_keeps_it_shut() -> None:
    rule = BarrierRule(BarrierType.ALL_OR_NOTHING, "1", 10.0)
    facts = BarrierFacts(FLEET, 0.0, {"a1": 1.0}, longer_s=60.0)
    assert decide(rule, facts, 11.0) == Wait(FLEET[1:], 71.0)
    assert isinstance(decide(rule, facts, 71.0), Fail)
    everybody = BarrierFacts(FLEET, 0.0, dict.fromkeys(FLEET, 1.0), paused=True)
    assert decide(rule, everybody, 500.0) == Wait((), None, paused=True)


def test_who_was_left_behind_is_not_waited_for_and_takes_part_again_when_here() -> None:
    rule = BarrierRule(BarrierType.BEST_EFFORT, "2", 10.0)
    facts = BarrierFacts(FLEET[:3], 0.0, dict.fromkeys((*FLEET[:3], "a4"), 1.0), excluded=("a4", "a5"))
    decision = decide(rule, facts, 1.0)
    assert isinstance(decision, Release)
    assert decision.arrived == FLEET[:4]
    assert "back again: a4" in decision.reason


def test_a_loss_is_what_the_run_says_it_is() -> None:
    facts = BarrierFacts(FLEET, 0.0, dict.fromkeys(FLEET, 1.0), {"a2": GONE})
    assert isinstance(decide(BarrierRule(BarrierType.BEST_EFFORT, "1", 10.0, loss_fails=True), facts, 1.0), Fail)
    assert isinstance(decide(BarrierRule(BarrierType.ALL_OR_NOTHING, "1", 10.0, loss_fails=False), facts, 1.0), Release)


@st.composite
def steered(draw: st.DrawFn) -> tuple[Barriers, Barriers, float]:
    """A leader's machine and a viewer's at a barrier of which both have seen the same, and when they are looked at."""
    policy, whole_s = draw(st.sampled_from(BarrierType)), draw(st.none() | st.floats(1, 200))
    leader, viewer = Barriers(FLEET, 0.0), Barriers(FLEET, 0.0)
    now = draw(st.floats(0, 300))
    lost, without = (draw(st.lists(st.sampled_from(FLEET), unique=True)) for _ in range(2))
    arrived = draw(st.dictionaries(st.sampled_from(FLEET), st.floats(0, 1).map(lambda share: share * now)))
    leader.begin(1, BarrierRule(policy, "1 (x)", draw(st.floats(0, 300)), whole_s), LivenessRule(), FLEET, 0.0)
    viewer.begin(1, BarrierRule(policy, "1 (x)", math.inf, loss_fails=False), LivenessRule(), FLEET, 0.0)
    viewer.pause()
    leader.wait_longer(draw(st.sampled_from((0.0, 60.0))))
    if draw(st.booleans()):
        leader.pause()
    for machine in (leader, viewer):
        for agent, at in arrived.items():
            machine.arrived(agent, 1, at)
        for agent in without:
            machine.release_without(agent)
        for agent in lost:
            machine.gone(agent, GONE)
            machine.excuse(agent)
    return leader, viewer, now


@given(steered())
def test_who_watches_says_of_a_barrier_what_its_leader_says(case: tuple[Barriers, Barriers, float]) -> None:
    leader, viewer, now = case
    theirs, terms = leader.waiting(now), leader.outlook(now)[1]
    event(f"waits: {theirs is not None}, bound: {terms is not None and terms.until is not None}")
    assert (theirs is None) == (terms is None)
    if theirs is not None:
        assert viewer.watched(now, terms, led=True) == theirs
        unknown = viewer.watched(now, None, led=True)
        alone = viewer.watched(now, terms, led=False)
        assert unknown is not None
        assert alone is not None
        assert (unknown.known, alone.known) == (Known.BY_LEADER, Known.NOBODY)
        assert {(each.left_s, each.at_end, each.pausing, each.held) for each in (unknown, alone)} == {
            (None, "", False, False)
        }


class Unhurried(Barriers):
    """Looks at every agent whenever it is asked."""

    def actions(self, now: float) -> list[Action]:
        self._anew()
        return super().actions(now)

    def outlook(self, now: float) -> tuple[float | None, Terms | None]:
        self._anew()
        return super().outlook(now)

    def waiting(self, now: float) -> Waiting | None:
        self._anew()
        return super().waiting(now)


AGENT = st.sampled_from(FLEET[:3])
AGENTS = st.lists(AGENT, unique=True, min_size=1).map(tuple)
HAPPENINGS = st.one_of(
    st.tuples(st.sampled_from(("heard", "unheard", "answered")), AGENT),
    st.tuples(st.just("broke"), AGENT),
    st.tuples(st.just("arrived"), AGENT),
    st.tuples(st.sampled_from(("takes_back", "leave_behind", "excuse", "settled", "release_without")), AGENT),
    st.tuples(st.just("gone"), AGENT),
    st.tuples(st.just("opened"), AGENTS, AGENTS),
    st.tuples(st.just("wait_longer"), st.sampled_from((1.0, 30.0))),
    st.tuples(st.sampled_from(("pause", "go_on"))),
    st.tuples(
        st.just("begin"),
        st.sampled_from(BarrierType),
        st.sampled_from((None, 40.0)),
        st.sampled_from((LivenessRule(1.0, 2, 0.5, 1), LivenessRule(5.0, 1, 3.0, 0), LivenessRule())),
        AGENTS,
    ),
    st.tuples(st.sampled_from(("actions", "outlook", "waiting"))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((0.0, 0.1, 1.0, 4.0, 30.0)), HAPPENINGS), max_size=40))
def test_it_does_the_same_as_one_that_looks_at_everybody_each_time(steps: list[tuple[float, tuple[Any, ...]]]) -> None:
    now = 0.0
    index = 0
    machine, other = Barriers(FLEET[:3], now), Unhurried(FLEET[:3], now)
    for each in (machine, other):
        each.begin(0, BarrierRule(BarrierType.ALL_OR_NOTHING, "0", 10.0), LivenessRule(1.0, 2, 0.5, 1), FLEET[:3], now)
    for passed, (kind, *details) in steps:
        now += passed
        if kind == "begin":
            index += 1
        for each in (machine, other):
            match kind, details:
                case (("heard" | "unheard" | "answered"), [agent]):
                    getattr(each, kind)(agent, now)
                case "broke", [agent]:
                    each.broke(agent, GONE, now)
                case "gone", [agent]:
                    each.gone(agent, GONE)
                case "takes_back", [agent]:
                    each.takes_back(agent, now)
                case "opened", [arrived, missing]:
                    each.opened(index, arrived, missing)
                case "arrived", [agent]:
                    each.arrived(agent, index, now)
                case "begin", [policy, whole_s, liveness, agents]:
                    each.begin(index, BarrierRule(policy, str(index), 10.0, whole_s), liveness, agents, now)
                case (("actions" | "outlook" | "waiting"), []):
                    pass
                case _:
                    getattr(each, kind)(*details)
        if kind == "outlook":
            (mine, my_terms), (theirs, their_terms) = machine.outlook(now), other.outlook(now)
            assert my_terms == their_terms
            # It may have people look once for nothing, never too late.
            assert theirs is None or (mine is not None and mine <= theirs)
        else:
            assert machine.actions(now) == other.actions(now)
        assert (machine.waiting(now), machine.lost) == (other.waiting(now), other.lost)


def test_who_is_heard_on_a_new_stream_is_asked_again_once_it_falls_silent() -> None:
    machine = Barriers(("a1",), 0.0)
    machine.begin(0, BarrierRule(BarrierType.ALL_OR_NOTHING, "0", 10.0), LivenessRule(1.0, 2, 0.5, 1), ("a1",), 0.0)
    machine.broke("a1", GONE, 0.0)
    assert machine.actions(0.0) == [Ask("a1", 1.0)]
    machine.answered("a1", 0.1)
    assert machine.actions(0.1) == [Rejoin("a1")]
    assert machine.actions(1.0) == []
    machine.heard("a1", 2.0)
    assert machine.actions(2.0) == []
    assert machine.outlook(2.0)[0] == 4.0
    assert machine.actions(4.0) == [Ask("a1", 0.5)]
