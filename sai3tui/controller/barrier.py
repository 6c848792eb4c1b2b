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
    """

    expected: tuple[str, ...]
    began: float
    arrived: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BarrierRule:
    """How long those who arrived wait (`wait_s`, from the first arrival), and how long all may take (`whole_s`, from
    the beginning; None: as long as they are heard of)."""

    policy: BarrierType
    name: str
    wait_s: float
    whole_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. Ask again when a fact changes, or at `until` (None: only when a fact changes)."""

    missing: tuple[str, ...]
    until: float | None


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
    strict = rule.policy is BarrierType.ALL_OR_NOTHING
    if lost and (strict or len(lost) == len(facts.expected)):
        return Fail(facts.lost[lost[0]])
    if rule.policy is BarrierType.MAJORITY and not _majority(len(facts.expected) - len(lost), len(facts.expected)):
        return Fail(facts.lost[lost[0]])
    if not missing:
        return Release(here, (), lost, _words(here, (), lost))
    deadline = _deadline(rule, facts)
    if deadline is None or now < deadline:
        return Wait(missing, deadline)
    enough = bool(here) and (
        rule.policy is BarrierType.BEST_EFFORT
        or (rule.policy is BarrierType.MAJORITY and _majority(len(here), len(facts.expected)))
    )
    if enough:
        return Release(here, missing, lost, _words(here, missing, lost))
    return Fail(_timed_out(rule, facts, here, missing, now))


def _majority(count: int, of: int) -> bool:
    return 2 * count > of


def _deadline(rule: BarrierRule, facts: BarrierFacts) -> float | None:
    bounds = []
    present = [when for agent, when in facts.arrived.items() if agent not in facts.lost]
    if present:
        bounds.append(min(present) + rule.wait_s)
    if rule.whole_s is not None:
        bounds.append(facts.began + rule.whole_s)
    return min(bounds) if bounds else None


def _words(here: tuple[str, ...], late: tuple[str, ...], lost: tuple[str, ...]) -> str:
    total = len(here) + len(late) + len(lost)
    text = "all arrived" if len(here) == total else f"{len(here)} of {total} arrived"
    if late:
        text += f", late: {', '.join(late)}"
    if lost:
        text += f", lost: {', '.join(lost)}"
    return text


def _timed_out(
    rule: BarrierRule, facts: BarrierFacts, here: tuple[str, ...], missing: tuple[str, ...], now: float
) -> Failure:
    waited = now - facts.began
    if here:
        message = (
            f"barrier {rule.name}: {', '.join(missing)} did not arrive within {rule.wait_s:.0f} s "
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
