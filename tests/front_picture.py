"""The README's picture: the live screen of a made-up run in which something is wrong, drawn by the real program.

`python -m tests.front_picture FILE` writes it; `make docs` does so for docs/live.svg.
"""

from __future__ import annotations

import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path

from sai3tui.controller.snapshot import AgentView, EndpointCell, LogLine, Rates, RunSnapshot
from sai3tui.events import AgentState, Level, Vitals
from sai3tui.metrics.attribution import Attribution, Cause, Evidence
from sai3tui.screens.live import LiveScreen
from tests.canned_runs import MIB, START_NS, judged
from tests.scripted_session import ScriptedSession
from tests.ui_help import on_screen, room

SIZE = (132, 41)
ENDPOINTS = tuple(f"s3://10.9.0.{number}:9000/bench/" for number in (21, 22, 23))
SLOW = 1
AGENTS = 8
SILENT = 5
BUSY = 6


def _ripple(second: float, seed: int) -> float:
    """Between 0.85 and 1.1, different for each seed, never quite the same twice."""
    return (
        1
        + 0.05 * math.sin(second / 4.3 + seed)
        + 0.03 * math.sin(second / 1.7 + 2 * seed)
        + 0.02 * math.sin(second * 1.9 + 3 * seed)
    )


def _load(second: float, number: int) -> float:
    """What an agent did in the last minute: it warmed up, and the silent one fades."""
    fading = max(0.1, 1 - (second - 40) / 22) if number == SILENT and second > 40 else 1.0
    return fading * min(1.0, 0.35 + second / 25) * (_ripple(second, number) + 0.12 * math.sin(second / 3.1 + number))


def _agent(number: int, agent: AgentView) -> AgentView:
    get, put = (98 + 3 * (number % 4)) * MIB, (31 + 2 * (number % 3)) * MIB
    shares = (0.42, 0.17 + 0.01 * (number % 3), 0.41)
    cells = tuple(
        EndpointCell(uri, (get + put) * share, 700 * share, 9_800.0 + 240 * number if n != SLOW else 21_300.0 + number)
        for n, (uri, share) in enumerate(zip(ENDPOINTS, shares, strict=True))
    )
    history = tuple((get + put) * _load(second, number) for second in range(60))
    shown = replace(
        agent,
        rates=Rates(
            1_540.0, get, 570.0, put, 20.0, 1_900, 8_900 + 310 * number, 2_600, 12_100 + 290 * number, 900, 3_100
        ),
        cells=cells,
        history=history,
        limit_used=0.97 if number == BUSY else 0.38 + 0.05 * (number % 5),
        limit_name="worker",
        vitals=Vitals(31.0 + number, 12.0, 1.0, 64.0, 180 * 1024 * 1024, 15),
        errors=14 if number == 2 else 0,
    )
    if number == SILENT:
        shown = replace(shown, heartbeat_age_s=8.0)
    return shown


def snapshot() -> RunSnapshot:
    """One of eight agents is silent and one is at its own limit; an endpoint is slow; a threshold is missed."""
    base = judged()
    template = replace(base.agents[0], state=AgentState.RUNNING)
    fleet = tuple(
        _agent(n, replace(template, id=f"agent-{n}", hostname=f"load{n:02d}", address=f"10.9.0.{30 + n}:7167"))
        for n in range(1, AGENTS + 1)
    )
    series = replace(
        base.series,
        **{
            name: tuple(value * _ripple(second, seed) for second, value in enumerate(getattr(base.series, name)))
            for seed, name in enumerate(("get_bytes", "put_bytes", "p99_us", "scheduled_p99_us", "p50_us"))
        },
    )
    facts = (Evidence(Cause.SERVER, 0.7, "10.9.0.22:9000 is 2.1 times slower than its peers for all agents"),)
    execute = replace(base.stages[2], attribution=Attribution(Cause.SERVER, 0.85, facts))
    endpoints = tuple(
        replace(
            base.endpoints[0],
            uri=uri,
            get_bytes=sum(agent.rates.get_bytes * agent.cells[n].bytes / _sum(agent) for agent in fleet),
            put_bytes=sum(agent.rates.put_bytes * agent.cells[n].bytes / _sum(agent) for agent in fleet),
            p99_us=max(agent.cells[n].p99_us for agent in fleet),
            errors=14 if n == SLOW else 0,
        )
        for n, uri in enumerate(ENDPOINTS)
    )
    lines = (
        *(replace(line, text=line.text.replace("4 of 4", "8 of 8")) for line in base.log),
        LogLine(START_NS + 67 * 10**9, Level.WARNING, "agent-5", "no heartbeat for 3 s: asked for its state"),
        LogLine(
            START_NS + 71 * 10**9, Level.WARNING, "agent-6", "limited by the client: a worker uses 97 % of its core"
        ),
    )
    return replace(
        base,
        config_name="s3-mixed.yaml",
        agents=fleet,
        endpoints=endpoints,
        series=series,
        stages=(*base.stages[:2], execute, base.stages[3]),
        log=lines,
        log_total=len(lines),
    )


def _sum(agent: AgentView) -> float:
    return agent.rates.get_bytes + agent.rates.put_bytes


async def draw() -> str:
    """The picture, as SVG."""
    app = room(ScriptedSession(snapshot()))
    async with app.run_test(size=SIZE) as pilot:
        await on_screen(pilot, LiveScreen)
        return app.export_screenshot(title="sai3tui", simplify=True)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(draw()), encoding="utf-8")
