"""When a barrier opens, and when it no longer can. Pure: arrivals, losses and the clock in, a decision out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sai3tui.config.model import BarrierType
from sai3tui.errors import ErrorContext, ErrorKind, Failure


@dataclass(frozen=True, slots=True)
class BarrierFacts:
    """What is known about one barrier. Times are seconds on one monotonic clock.

    `expected` are the agents that took part when the stage began. `arrived` maps those that are here to when they
    came. `lost` are those that will not come, with the reason; whoever arrived before being lost counts as lost.
    `excluded` were left behind at an earlier barrier: nobody waits for them, and who of them is here takes part again.
    `left` were left behind at this one, before it opened: they are no longer among `expected`. `fleet` is how many
    agents the run has (0: as many as are expected). Nobody's patience ends sooner than if it had begun at `since`.

    Somebody may steer: `longer_s` is added to what may be waited, `without` are agents that nobody is to wait for,
    `paused` keeps a barrier shut that could open.
    """

    expected: tuple[str, ...]
    began: float
    arrived: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, Failure] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    fleet: int = 0
    since: float = -math.inf
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
    away = tuple(agent for agent in facts.excluded if agent not in facts.lost)
    back = tuple(agent for agent in away if agent in facts.arrived)
    fails = rule.loss_fails if rule.loss_fails is not None else rule.policy is BarrierType.ALL_OR_NOTHING
    if lost and (fails or len(lost) == len(facts.expected)):
        return Fail(facts.lost[lost[0]])
    fleet = facts.fleet or len(facts.expected)
    quorum = rule.policy is not BarrierType.MAJORITY or 2 * (len(here) + len(back)) > fleet
    if not quorum and 2 * (len(here) + len(missing) + len(away)) <= fleet and not facts.without:
        return Fail(_too_few(rule, facts, fleet))
    awaited = tuple(agent for agent in missing if agent not in facts.without)
    if not awaited and (here or not missing) and (quorum or facts.without):
        if facts.paused:
            return Wait((), None, paused=True)
        return Release((*here, *back), (*facts.left, *missing), lost, _words(facts, here, missing, lost, back))
    deadline = _deadline(rule, facts)
    if deadline is None or now < deadline:
        return Wait(awaited or missing or tuple(agent for agent in away if agent not in back), deadline)
    if not here or not quorum or rule.policy is BarrierType.ALL_OR_NOTHING:
        return Fail(_timed_out(rule, facts, here, missing, now))
    if facts.paused:
        return Wait(awaited or missing, None, paused=True)
    return Release((*here, *back), (*facts.left, *missing), lost, _words(facts, here, missing, lost, back))


def _deadline(rule: BarrierRule, facts: BarrierFacts) -> float | None:
    bounds = []
    present = [facts.arrived[a] for a in facts.expected if a in facts.arrived and a not in facts.lost]
    if present:
        bounds.append(max(min(present), facts.since) + rule.wait_s + facts.longer_s)
    if rule.whole_s is not None:
        bounds.append(facts.began + rule.whole_s + facts.longer_s)
    return min(bounds) if bounds else None


def _words(
    facts: BarrierFacts, here: tuple[str, ...], missing: tuple[str, ...], lost: tuple[str, ...], back: tuple[str, ...]
) -> str:
    late = (*facts.left, *missing)
    total = len(here) + len(late) + len(lost)
    text = "all arrived" if len(here) == total else f"{len(here)} of {total} arrived"
    for word, agents in (("late", late), ("lost", lost), ("back again", back)):
        if agents:
            text += f", {word}: {', '.join(agents)}"
    return text


def _too_few(rule: BarrierRule, facts: BarrierFacts, fleet: int) -> Failure:
    """Its cause is one of the losses."""
    text = f"barrier {rule.name}: no majority of the run's {fleet} agents is left"
    if not facts.lost:
        return Failure(ErrorKind.TIMEOUT, text, hint="a barrier of type best_effort opens for fewer")
    failure = next(iter(facts.lost.values()))
    return replace(failure, message=f"{text}: {failure.message}")


def _timed_out(
    rule: BarrierRule, facts: BarrierFacts, here: tuple[str, ...], missing: tuple[str, ...], now: float
) -> Failure:
    waited = now - facts.began
    late = missing or tuple(agent for agent in facts.excluded if agent not in facts.arrived)
    if here:
        message = (
            f"barrier {rule.name}: {', '.join(late)} did not arrive within {rule.wait_s + facts.longer_s:.0f} s "
            f"of the first ({len(here)} of {facts.fleet or len(facts.expected)} did)"
        )
    else:
        message = f"barrier {rule.name}: {', '.join(late)} did not arrive within {waited:.0f} s"
    return Failure(
        ErrorKind.TIMEOUT,
        message,
        context=ErrorContext(agent=late[0] if late else ""),
        hint="look at that agent's log; if the work simply takes longer, raise agent_barrier_timeout (between stages), "
        "agent_ready_timeout (before the first) or the stage's timeout_secs",
    )
