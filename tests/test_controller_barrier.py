"""The barrier's decisions, for every combination that matters and for any that hypothesis thinks of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.model import BarrierType
from sai3tui.controller.barrier import BarrierFacts, BarrierRule, Decision, Fail, Release, Wait, decide
from sai3tui.errors import ErrorKind, Failure

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
