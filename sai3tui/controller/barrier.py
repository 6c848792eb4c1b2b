"""When a barrier opens, and when it no longer can. Pure: arrivals, losses and the clock in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sai3tui.config.model import BarrierType
from sai3tui.errors import ErrorContext, ErrorKind, Failure


@dataclass(frozen=True, slots=True)
class BarrierFacts:
    """What is known about one barrier. Times are seconds on one monotonic clock.

    `expected` are the agents that took part when the stage began. `arrived` maps those that are here to when they
    came. `lost` are those that will not come, with the reason; whoever arrived before being lost counts as lost.
    `excluded` were left behind at an earlier barrier: nobody waits for them, and who of them is here takes part again.

    Somebody may steer: `longer_s` is added to what may be waited, `without` are agents that nobody is to wait for,
    `paused` keeps a barrier shut that could open.
    """

    expected: tuple[str, ...]
    began: float
    arrived: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, Failure] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    longer_s: float = 0.0
    without: frozenset[str] = frozenset()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class BarrierRule:
    """How long those who arrived wait (`wait_s`, from the first arrival), and how long all may take (`whole_s`, from
    the beginning; None: as long as they are heard of). `loss_fails`: a lost agent fails the barrier (None: as the
    policy has it)."""

    policy: BarrierType
    name: str
    wait_s: float
    whole_s: float | None = None
    loss_fails: bool | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. Ask again when a fact changes, or at `until` (None: only when a fact changes)."""

    missing: tuple[str, ...]
    until: float | None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Go on. `late` are alive but not here: they are excluded."""

    arrived: tuple[str, ...]
    late: tuple[str, ...]
    lost: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """This barrier cannot be met."""

    failure: Failure


Decision = Wait | Release | Fail


def decide(rule: BarrierRule, facts: BarrierFacts, now: float) -> Decision:
    """What to do at `now`. Always something else than Wait once a bound has passed."""
    lost = tuple(agent for agent in facts.expected if agent in facts.lost)
    here = tuple(agent for agent in facts.expected if agent in facts.arrived and agent not in facts.lost)
    missing = tuple(agent for agent in facts.expected if agent not in facts.arrived and agent not in facts.lost)
    back = tuple(agent for agent in facts.excluded if agent in facts.arrived and agent not in facts.lost)
    fails = rule.loss_fails if rule.loss_fails is not None else rule.policy is BarrierType.ALL_OR_NOTHING
    if lost and (fails or len(lost) == len(facts.expected)):
        return Fail(facts.lost[lost[0]])
    if lost and rule.policy is BarrierType.MAJORITY and not _majority(len(here) + len(missing), len(facts.expected)):
        return Fail(facts.lost[lost[0]])
    awaited = tuple(agent for agent in missing if agent not in facts.without)
    if not awaited and (here or not missing):
        if facts.paused:
            return Wait((), None, paused=True)
        return Release((*here, *back), missing, lost, _words(here, missing, lost, back))
    deadline = _deadline(rule, facts)
    if deadline is None or now < deadline:
        return Wait(awaited or missing, deadline)
    enough = bool(here) and (
        rule.policy is BarrierType.BEST_EFFORT
        or (rule.policy is BarrierType.MAJORITY and _majority(len(here), len(facts.expected)))
    )
    if not enough:
        return Fail(_timed_out(rule, facts, here, missing, now))
    if facts.paused:
        return Wait(awaited or missing, None, paused=True)
    return Release((*here, *back), missing, lost, _words(here, missing, lost, back))


def _majority(count: int, of: int) -> bool:
    return 2 * count > of


def _deadline(rule: BarrierRule, facts: BarrierFacts) -> float | None:
    bounds = []
    present = [facts.arrived[a] for a in facts.expected if a in facts.arrived and a not in facts.lost]
    if present:
        bounds.append(min(present) + rule.wait_s + facts.longer_s)
    if rule.whole_s is not None:
        bounds.append(facts.began + rule.whole_s + facts.longer_s)
    return min(bounds) if bounds else None


def _words(here: tuple[str, ...], late: tuple[str, ...], lost: tuple[str, ...], back: tuple[str, ...]) -> str:
    total = len(here) + len(late) + len(lost)
    text = "all arrived" if len(here) == total else f"{len(here)} of {total} arrived"
    for word, agents in (("late", late), ("lost", lost), ("back again", back)):
        if agents:
            text += f", {word}: {', '.join(agents)}"
    return text


def _timed_out(
    rule: BarrierRule, facts: BarrierFacts, here: tuple[str, ...], missing: tuple[str, ...], now: float
) -> Failure:
    waited = now - facts.began
    if here:
        message = (
            f"barrier {rule.name}: {', '.join(missing)} did not arrive within {rule.wait_s + facts.longer_s:.0f} s "
            f"of the first ({len(here)} of {len(facts.expected)} did)"
        )
    else:
        message = f"barrier {rule.name}: {', '.join(missing)} did not arrive within {waited:.0f} s"
    return Failure(
        ErrorKind.TIMEOUT,
        message,
        context=ErrorContext(agent=missing[0]),
        hint="look at that agent's log; if the work simply takes longer, raise agent_barrier_timeout (between stages), "
        "agent_ready_timeout (before the first) or the stage's timeout_secs",
    )
