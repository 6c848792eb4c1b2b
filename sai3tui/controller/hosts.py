"""Agents of one host as one line: agents that share a machine share its limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sai3tui.controller.snapshot import AgentView


@dataclass(frozen=True, slots=True)
class HostView:
    """Sums over the agents of a host, in bytes per second; `cpu_pct` is the host's, `p99_us` the worst of them."""

    name: str
    agents: tuple[AgentView, ...]
    get_bytes: float
    put_bytes: float
    p99_us: float
    errors: int
    cpu_pct: float


def by_host(agents: Iterable[AgentView]) -> tuple[HostView, ...]:
    """Hosts in the order in which their first agents come. An agent that has not said where it runs is named by its
    address."""
    groups: dict[str, list[AgentView]] = {}
    for agent in agents:
        groups.setdefault(agent.hostname or agent.address.rsplit(":", 1)[0] or agent.id, []).append(agent)
    return tuple(
        HostView(
            name,
            tuple(members),
            sum(a.rates.get_bytes for a in members),
            sum(a.rates.put_bytes for a in members),
            max(a.rates.p99_us for a in members),
            sum(a.errors for a in members),
            max(a.vitals.cpu_user_pct + a.vitals.cpu_system_pct for a in members),
        )
        for name, members in groups.items()
    )
