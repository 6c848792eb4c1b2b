"""The barrier board as a value: what the barrier waits for, joined with what each agent has done. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter

from sai3tui.controller.barriers import Waiting
from sai3tui.controller.snapshot import AgentView, BarrierAgent, BarrierView, Standing
from sai3tui.events import AgentState
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.views import EndpointCell

_GONE = frozenset({AgentState.LOST, AgentState.FAILED, AgentState.ABORTED})
_UNKNOWN_S = float("inf")
_NONE = EndpointCell("")


def barrier_view(
    waiting: Waiting,
    agents: Iterable[AgentView],
    stage: StageTally | None,
    cells: Mapping[str, tuple[EndpointCell, ...]],
    now_ns: int,
) -> BarrierView:
    """`stage` is the one before the barrier (None: there is none), `cells` what each agent last got from endpoints,
    `now_ns` the time on our clock in nanoseconds."""
    rows = tuple(_agent(waiting, agent, stage, cells.get(agent.id, ()), now_ns) for agent in agents)
    names = set(waiting.awaited)
    awaited = [row for row in rows if row.id in names]
    holder = max(awaited, key=_hold, default=None)
    return BarrierView(
        waiting.index,
        waiting.name,
        waiting.policy,
        rows,
        waiting.awaited,
        holder.id if holder is not None and waiting.waited_s is not None else "",
        waiting.waited_s,
        waiting.left_s,
        waiting.at_end,
        waiting.pausing,
        waiting.held,
        waiting.known,
    )


def _hold(row: BarrierAgent) -> tuple[bool, float, float]:
    """Who is silent holds up more than who works, and who has longest to go more than the others."""
    silent = row.standing is Standing.SILENT
    return (silent, _UNKNOWN_S if row.eta_s is None else row.eta_s, row.heartbeat_age_s)


def _agent(
    waiting: Waiting, agent: AgentView, stage: StageTally | None, cells: tuple[EndpointCell, ...], now_ns: int
) -> BarrierAgent:
    missed = waiting.missed.get(agent.id, 0)
    if agent.state in _GONE:
        standing = Standing.LOST
    elif agent.id in waiting.arrived:
        standing = Standing.ARRIVED
    elif agent.id in waiting.excluded:
        standing = Standing.EXCLUDED
    elif missed >= waiting.threshold:
        standing = Standing.SILENT
    else:
        standing = Standing.WORKING
    slowest = max(cells, key=attrgetter("p99_us"), default=_NONE)
    done = planned = 0
    rate = 0.0
    eta_s: float | None = None
    part = stage.agents.get(agent.id) if stage is not None else None
    if stage is not None and part is not None:
        objects = part.objects
        done, planned = objects.done + objects.existed, objects.planned
        seconds = stage.agent_seconds(agent.id)
        rate = objects.done / seconds if seconds > 0 else 0.0
    if standing is Standing.WORKING and stage is not None:
        if planned:
            eta_s = max(0, planned - done) / rate if rate else None
        elif stage.info.duration_s and stage.start_ns:
            eta_s = max(0.0, stage.info.duration_s - (now_ns - stage.start_ns) / 1e9)
    return BarrierAgent(
        agent.id,
        standing,
        waiting.arrived.get(agent.id, 0.0),
        done,
        planned,
        rate,
        eta_s,
        slowest.uri,
        slowest.p99_us,
        agent.heartbeat_age_s,
        missed,
        waiting.threshold,
    )
