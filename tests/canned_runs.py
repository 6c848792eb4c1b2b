"""Canned snapshots of runs in all their states: what the screens show in tests, the same every time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sai3tui.config.thresholds import Unit
from sai3tui.controller.frames import Frames
from sai3tui.controller.snapshot import (
    AgentView,
    BarrierAgent,
    BarrierView,
    EndpointCell,
    EndpointView,
    FailureGroup,
    LogLine,
    Outcome,
    Phase,
    Rates,
    RunSnapshot,
    Series,
    StageStatus,
    StageView,
    Standing,
)
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import AgentState, Finding, Level, Vitals
from sai3tui.metrics.attribution import Attribution, Cause, Evidence
from sai3tui.results.bands import Band, StageBand
from sai3tui.results.baseline import BaselineView
from sai3tui.results.distribution import OpDistribution, distribution
from sai3tui.results.figures import Figures
from sai3tui.results.headline import Headline
from sai3tui.results.reader import RunEntry
from sai3tui.results.thresholds import ThresholdStatus, ThresholdView
from sai3tui.results.views import AgentStageView
from sai3tui.widgets.run_views import RunReport, report_of

MIB = 1024.0**2
START_NS = 1_764_000_000_000_000_000
CHECKS = ("version", "clock", "plan", "data-dir", "connect", "auth", "list", "write", "read", "stat", "delete")
STAGES = (
    StageView(1, "preflight", "validation", "all_or_nothing"),
    StageView(2, "prepare", "prepare", "all_or_nothing"),
    StageView(3, "execute", "execute", "all_or_nothing", duration_s=60.0),
    StageView(4, "cleanup", "cleanup", "all_or_nothing"),
)
DENIED = Failure(
    ErrorKind.PERMISSION,
    "PUT of s3://bench/data/.sai3tui-probe was refused",
    ("HTTP 403 AccessDenied: not authorised to perform s3:PutObject",),
    ErrorContext(
        uri="s3://bench/data/.sai3tui-probe",
        endpoint="https://10.9.0.21:9000",
        agent="agent-3",
        op="PUT",
        subclass="http_4xx",
        http_status=403,
        request_id="7Q3FJ2M8KX",
    ),
    "give the key s3:PutObject on bench/data/*, or point this agent at another prefix",
)
SLOW_DOWN = Failure(
    ErrorKind.THROTTLED,
    "PUT answered 503 SlowDown",
    ("Please reduce your request rate.",),
    ErrorContext(
        uri="s3://bench/data/d1_w2.dir/file_00000121.dat",
        endpoint="http://10.9.0.22:9000",
        object_index=121,
        stage="execute",
        agent="agent-2",
        op="PUT",
        subclass="http_5xx",
        http_status=503,
        request_id="9Z0A1B2C3D",
    ),
    "lower concurrency for this agent, or add an io_rate",
)


def past(snapshot: RunSnapshot) -> Frames:
    """Frames that lead to a snapshot: everything a little smaller, the earlier the more."""
    frames = Frames()
    if not snapshot.stage_index:
        return frames
    for number, second in enumerate(snapshot.series.at_s):
        part = 0.7 + 0.3 * math.sin(second / 6) ** 2
        stage = snapshot.series.stage_index[number]
        fleet = tuple(
            replace(
                agent,
                state=AgentState.RUNNING,
                stage_index=stage,
                rates=replace(
                    _rates(position + 1),
                    get_bytes=_rates(position + 1).get_bytes * part if stage == 3 else 0.0,
                    put_bytes=_rates(position + 1).put_bytes * part,
                    get_p99_us=_rates(position + 1).get_p99_us * (1.6 - part),
                    put_p99_us=_rates(position + 1).put_p99_us * (1.6 - part),
                ),
                errors=0,
                failure=None,
            )
            for position, agent in enumerate(snapshot.agents)
        )
        stages = tuple(_stage_then(each, stage, second) for each in snapshot.stages)
        frames.add(
            replace(
                snapshot,
                version=100 + number,
                phase=Phase.RUNNING,
                outcome=None,
                elapsed_s=second,
                stage_index=stage,
                agents=fleet,
                stages=stages,
                failures=(),
            )
        )
    return frames


def _stage_then(view: StageView, current: int, second: float) -> StageView:
    """A stage as it was when the stage `current` ran."""
    if view.index < current:
        return view
    status = StageStatus.RUNNING if view.index == current else StageStatus.PENDING
    elapsed = second if current == 2 else second - 30
    return replace(view, status=status, elapsed_s=elapsed, arrived=(), waiting_for=(), failure=None)


# --- canned snapshots ----------------------------------------------------------------------------------------------


def agents(count: int = 4, state: AgentState = AgentState.RUNNING) -> tuple[AgentView, ...]:
    """A fleet that works, each a little differently."""
    return tuple(_agent(number, state) for number in range(1, count + 1))


def _rates(number: int) -> Rates:
    get = (180 + 17 * (number % 5)) * MIB
    put = (60 + 9 * (number % 4)) * MIB
    return Rates(
        get / 65536,
        get,
        put / 65536,
        put,
        40.0,
        1900,
        8200 + 310.0 * number,
        2600,
        11_400 + 900.0 * (number % 5),
        900,
        3100,
        0.0,
        14_000 + 1100.0 * (number % 5),
    )


def _cells(number: int, rates: Rates) -> tuple[EndpointCell, ...]:
    """Two endpoints, of which the second is slow for every third agent."""
    whole = rates.get_bytes + rates.put_bytes
    slow = 0.16 if number % 3 == 0 else 0.48
    return (
        EndpointCell("s3://10.9.0.21:9000/bench/", whole * (1 - slow), rates.ops * (1 - slow), 9_400.0 + 200 * number),
        EndpointCell("s3://10.9.0.22:9000/bench/", whole * slow, rates.ops * slow, 11_900.0 / slow, number % 2),
    )


def _agent(number: int, state: AgentState) -> AgentView:
    idle = state in (AgentState.CONNECTING, AgentState.VALIDATING, AgentState.IDLE)
    rates = _rates(number)
    get, put = rates.get_bytes, rates.put_bytes
    history = () if idle else tuple((get + put) * (0.8 + 0.2 * math.sin(i / 4 + number)) for i in range(60))
    return AgentView(
        id=f"agent-{number}",
        address=f"10.9.0.{10 + number}:7167",
        state=state,
        stage_index=0 if idle else 3,
        concurrency=64,
        rates=Rates() if idle else rates,
        heartbeat_age_s=0.4,
        clock_offset_ms=0.3 * number,
        clock_uncertainty_ms=0.1,
        version="0.1.0",
        hostname=f"load{number:02d}",
        cores=16,
        vitals=Vitals() if idle else Vitals(31.0, 12.0, 1.0, 64.0, 180 * 1024 * 1024, 15),
        history=history,
        cells=() if idle else _cells(number, rates),
        limit_used=0.0 if idle else 0.35 + 0.09 * (number % 7),
        limit_name="" if idle else "worker",
    )


def findings(snapshot_agents: tuple[AgentView, ...], checks: tuple[str, ...] = CHECKS) -> tuple[Finding, ...]:
    """Every check passed by every agent."""
    return tuple(
        Finding(START_NS, agent.id, check, "http://10.9.0.21:9000", Level.OK, f"{check} works", "", "", 4.0)
        for agent in snapshot_agents
        for check in checks
    )


def connecting() -> RunSnapshot:
    return RunSnapshot(
        version=1,
        phase=Phase.CONNECTING,
        run_id="01JDEMO",
        config_name="4node-mixed.yaml",
        started_ns=START_NS,
        stages=STAGES,
        agents=agents(state=AgentState.CONNECTING),
    )


def checking() -> RunSnapshot:
    """Two of four agents are done; one has a warning; one was refused."""
    fleet = agents(state=AgentState.VALIDATING)
    fleet = (replace(fleet[0], state=AgentState.IDLE), replace(fleet[1], state=AgentState.IDLE), *fleet[2:])
    found = [*findings(fleet[:1]), *findings(fleet[1:2])]
    found[12] = replace(
        found[12],
        level=Level.WARNING,
        message="the clock is 812 ms ahead of the controller's",
        evidence="offset +812.4 ms, uncertain by 0.3 ms over 9 pings",
        advice="run chrony or ntpd on load02; figures are corrected, logs of that host are not",
    )
    found += findings(fleet[2:3], CHECKS[:7])
    found.append(
        Finding(
            START_NS,
            "agent-3",
            "write",
            "https://10.9.0.21:9000",
            Level.ERROR,
            DENIED.message,
            "PUT .sai3tui-probe, 41 ms, request 7Q3FJ2M8KX",
            DENIED.hint,
            41.0,
            DENIED,
        )
    )
    found += findings(fleet[3:], CHECKS[:4])
    return replace(connecting(), version=2, phase=Phase.PREFLIGHT, elapsed_s=7.0, agents=fleet, findings=tuple(found))


def blocked() -> RunSnapshot:
    """Preflight is over, with an error."""
    snapshot = checking()
    fleet = agents(state=AgentState.IDLE)
    found = tuple(f for f in snapshot.findings if f.agent != "agent-4") + findings(fleet[3:])
    return replace(snapshot, version=3, phase=Phase.READY, elapsed_s=9.0, agents=fleet, findings=found)


def foreign() -> RunSnapshot:
    """Preflight is over; the prefix belongs to another layout, as two agents say."""
    snapshot = ready()
    told = tuple(
        Finding(
            START_NS,
            agent,
            "owner",
            "s3+http://10.9.0.21:9000/bench/run/",
            Level.ERROR,
            "this prefix belongs to layout 4be1a90c of load07, since 2026-05-01T18:02:11+00:00",
            "",
            "use another prefix; or, if all below it may be overwritten and deleted, take it over: --adopt",
        )
        for agent in ("agent-1", "agent-2")
    )
    return replace(snapshot, findings=(*snapshot.findings, *told))


def ready() -> RunSnapshot:
    """Preflight is over, all is well."""
    fleet = agents(state=AgentState.IDLE)
    return replace(connecting(), version=4, phase=Phase.READY, elapsed_s=9.0, agents=fleet, findings=findings(fleet))


def series(prepare_s: int = 30, execute_s: int = 45) -> Series:
    """A prepare that only writes, then a mixture."""
    total = prepare_s + execute_s
    get = tuple(0.0 if i < prepare_s else (820 + 60 * math.sin(i / 5)) * MIB for i in range(total))
    put = tuple(
        (640 + 30 * math.sin(i / 3)) * MIB if i < prepare_s else (300 + 40 * math.sin(i / 7)) * MIB
        for i in range(total)
    )
    return Series(
        at_s=tuple(float(i + 1) for i in range(total)),
        get_bytes=get,
        put_bytes=put,
        ops=tuple((g + p) / 65536 for g, p in zip(get, put, strict=True)),
        p50_us=tuple(2400 + 200 * math.sin(i / 6) for i in range(total)),
        p99_us=tuple(9800 + 2600 * math.sin(i / 9) for i in range(total)),
        stage_index=tuple(2 if i < prepare_s else 3 for i in range(total)),
        scheduled_p99_us=tuple(
            (9800 + 2600 * math.sin(i / 9)) * (1.0 if i < prepare_s else 1.15 + 0.25 * math.sin(i / 4) ** 2)
            for i in range(total)
        ),
    )


def log_lines() -> tuple[LogLine, ...]:
    texts = (
        (0, Level.INFO, "", "preflight passed on 4 agents"),
        (1, Level.INFO, "", "stage prepare starts"),
        (31, Level.INFO, "agent-3", "prepare: 16,000 objects written"),
        (32, Level.INFO, "", "barrier prepare released: 4 of 4 arrived"),
        (32, Level.INFO, "", "stage execute starts, skew 1.2 ms"),
        (58, Level.WARNING, "agent-2", "retrying after 503 SlowDown"),
        (61, Level.ERROR, "agent-2", "14 × PUT 503 SlowDown s3://bench/data/d1_w2.dir/file_00000121.dat"),
    )
    return tuple(LogLine(START_NS + second * 10**9, level, agent, text) for second, level, agent, text in texts)


def running(_snapshot: RunSnapshot | None = None, count: int = 4) -> RunSnapshot:
    """In the middle of execute."""
    fleet = agents(count)
    figures = series()
    stages = (
        replace(STAGES[0], status=StageStatus.DONE, elapsed_s=1.4, arrived=_arrived(fleet)),
        replace(
            STAGES[1],
            status=StageStatus.DONE,
            elapsed_s=30.0,
            arrived=_arrived(fleet),
            done=64_000,
            planned=64_000,
            rates=Rates(put_ops=10240.0, put_bytes=640 * MIB, put_p50_us=2400, put_p99_us=9900),
            total_ops=64_000,
            total_bytes=int(19_200 * MIB),
        ),
        replace(
            STAGES[2],
            status=StageStatus.RUNNING,
            elapsed_s=45.0,
            rates=Rates(13_120.0, 820 * MIB, 4_800.0, 300 * MIB, 160.0, 1900, 8400, 2600, 14_400, 900, 3100),
            total_ops=812_400,
            total_bytes=int(50_400 * MIB),
            errors=14,
        ),
        STAGES[3],
    )
    return RunSnapshot(
        version=10,
        phase=Phase.RUNNING,
        run_id="01JDEMO",
        config_name="4node-mixed.yaml",
        results_dir="/srv/bench/results/sai3-20251124-160000-4node-mixed",
        started_ns=START_NS,
        elapsed_s=76.0,
        stage_index=3,
        stages=stages,
        agents=fleet,
        endpoints=(
            EndpointView("s3://10.9.0.21:9000/bench/", 420 * MIB, 150 * MIB, 9_120.0, 11_900, 406_200, 0),
            EndpointView("s3://10.9.0.22:9000/bench/", 400 * MIB, 150 * MIB, 8_800.0, 14_400, 406_200, 14),
        ),
        fleet=Rates(13_504.0, 844 * MIB, 4_880.0, 305 * MIB, 160.0, 1900, 8400, 2600, 14_400, 900, 3100),
        series=figures,
        log=log_lines(),
        log_total=7,
        failures=(FailureGroup(SLOW_DOWN, 14, ("agent-2",), START_NS + 58 * 10**9, START_NS + 61 * 10**9),),
    )


def judged() -> RunSnapshot:
    """In the middle of execute, with thresholds and a baseline that was faster."""
    snapshot = running()
    figures = snapshot.series
    stages = []
    for index, start, length in ((2, 0, 30), (3, 30, 60)):
        at = tuple(float(n) for n in range(1, length + 1))

        def band(values: tuple[float, ...], start: int = start, at: tuple[float, ...] = at) -> Band:
            picked = [values[min(start + n, len(values) - 1)] for n in range(len(at))]
            return Band(tuple(1.1 * v for v in picked), tuple(1.3 * v for v in picked))

        stages.append(
            StageBand(
                index, at, band(figures.get_bytes), band(figures.put_bytes), band(figures.ops), band(figures.p99_us)
            )
        )
    view = BaselineView("sai3-20251123-140200-4node-mixed", "r", START_NS, tuple(stages))
    facts = (
        Evidence(Cause.SERVER, 0.7, "10.9.0.22:9000 is 2.1 times slower than its peers for all agents"),
        Evidence(Cause.SERVER, 0.5, "4 % of the attempts were throttled"),
    )
    execute = replace(snapshot.stages[2], attribution=Attribution(Cause.SERVER, 0.85, facts))
    return replace(
        snapshot,
        stages=(*snapshot.stages[:2], execute, snapshot.stages[3]),
        thresholds=thresholds(),
        baseline=view,
    )


def _arrived(fleet: tuple[AgentView, ...]) -> tuple[tuple[str, float], ...]:
    return tuple((agent.id, 0.3 * position) for position, agent in enumerate(fleet))


def troubled() -> RunSnapshot:
    """At the barrier after execute: one agent is lost, one is silent, one has failed to arrive."""
    snapshot = running(count=12)
    fleet = list(snapshot.agents)
    fleet[6] = replace(fleet[6], heartbeat_age_s=12.0)
    fleet[10] = replace(fleet[10], state=AgentState.FAILED, errors=14, rates=Rates(), failure=SLOW_DOWN, history=())
    for position in (0, 1, 2, 3, 4, 5, 7, 8, 9):
        fleet[position] = replace(fleet[position], state=AgentState.AT_BARRIER, rates=Rates())
    arrived = tuple((agent.id, 0.2 * i) for i, agent in enumerate(fleet) if agent.state is AgentState.AT_BARRIER)
    execute = replace(
        snapshot.stages[2],
        status=StageStatus.AT_BARRIER,
        elapsed_s=60.0,
        arrived=arrived,
        waiting_for=("agent-7", "agent-12"),
        waiting_s=12.0,
        barrier="majority",
    )
    stages = (*snapshot.stages[:2], execute, snapshot.stages[3])
    came = dict(arrived)
    board = [BarrierAgent(agent.id, Standing.ARRIVED, came.get(agent.id, 0.0), threshold=3) for agent in fleet]
    slow = "http://10.9.0.22:9000"
    board[6] = BarrierAgent("agent-7", Standing.SILENT, 0.0, 4_210, 9_000, 61.0, None, slow, 184_000.0, 12.0, 3, 3)
    board[10] = BarrierAgent("agent-11", Standing.LOST, threshold=3)
    board[11] = BarrierAgent("agent-12", Standing.WORKING, 0.0, 8_700, 9_000, 75.0, 4.0, slow, 91_000.0, 0.4, 0, 3)
    end = "it opens without agent-7, agent-12"
    barrier = BarrierView(
        3, "3 (execute)", "majority", tuple(board), ("agent-7", "agent-12"), "agent-7", 12.0, 288.0, end
    )
    return replace(
        snapshot,
        version=11,
        barrier=barrier,
        agents=tuple(fleet),
        stages=stages,
        elapsed_s=103.0,
        notices=("preflight was skipped", "agent-7 accepts commands from anybody (--insecure)"),
        coverage=11 / 12,
    )


def finished(snapshot: RunSnapshot | None = None, outcome: Outcome | None = None) -> RunSnapshot:
    """All stages done."""
    base = snapshot or running()
    cleanup = replace(
        STAGES[3],
        status=StageStatus.DONE,
        elapsed_s=6.0,
        done=64_000,
        planned=64_000,
        total_ops=64_000,
        rates=Rates(meta_ops=10_666.0, meta_p50_us=1800, meta_p99_us=6000),
    )
    execute = replace(base.stages[2], status=StageStatus.DONE, elapsed_s=60.0)
    results = base.results_dir
    return replace(
        base,
        version=20,
        phase=Phase.FINISHED,
        elapsed_s=97.0,
        stage_index=4,
        stages=(*base.stages[:2], execute, cleanup),
        agents=tuple(replace(agent, state=AgentState.COMPLETED) for agent in base.agents),
        outcome=outcome or Outcome("success", 0, None, results),
    )


def aborted(snapshot: RunSnapshot) -> RunSnapshot:
    """Stopped by somebody."""
    outcome = Outcome("aborted", 130, None, snapshot.results_dir, "sai3tui --batch 4node-mixed.yaml")
    return replace(
        snapshot,
        phase=Phase.FINISHED,
        outcome=outcome,
        agents=tuple(replace(agent, state=AgentState.ABORTED, rates=Rates()) for agent in snapshot.agents),
    )


def failed() -> RunSnapshot:
    """Broken off in execute, by a failure with a cause and a hint."""
    base = running()
    execute = replace(base.stages[2], status=StageStatus.FAILED, failure=SLOW_DOWN)
    outcome = Outcome("failed", 1, SLOW_DOWN, base.results_dir, "sai3tui --batch 4node-mixed.yaml")
    return replace(
        base, version=21, phase=Phase.FINISHED, stages=(*base.stages[:2], execute, base.stages[3]), outcome=outcome
    )


def runs() -> tuple[RunEntry, ...]:
    """What a results directory may hold."""
    root = Path("/srv/bench/results")

    def entry(number: int, name: str, status: str, seconds: float, ops: int, size: float, errors: int) -> RunEntry:
        started = START_NS - number * 7_300 * 10**9
        path = root / f"sai3-{datetime.fromtimestamp(started / 1e9, UTC):%Y%m%d-%H%M%S}-{name}"
        return RunEntry(
            path,
            path.name,
            f"{name}.yaml",
            started,
            seconds,
            status,
            0,
            4,
            ops,
            int(size * MIB),
            errors,
            headline=Headline("execute", size * MIB / seconds, ops / seconds, 14_200.0 - number * 900),
        )

    return (
        entry(0, "4node-mixed", "failed", 81.0, 876_400, 69_600, 14),
        entry(1, "4node-mixed", "success", 97.0, 1_004_800, 78_100, 0),
        entry(2, "unet3d-epoch", "aborted", 62.0, 81_200, 41_000, 0),
        entry(3, "warp-put", "success", 603.0, 5_120_000, 312_000, 0),
        RunEntry(root / "sai3-20251120-101010-old", "sai3-20251120-101010-old", problem="metadata.json: no such file"),
    )


def report() -> RunReport:
    """A finished run whose log was read."""
    made = report_of(finished())
    return replace(
        made,
        outcome=replace(made.outcome, status="threshold_missed", exit_code=4),
        operations={3: (_spread("get", 2100, 609_300), _spread("put", 5200, 203_100), _spread("stat", 1100, 9_600))},
        agents={3: tuple(_agent_stage(number) for number in range(1, 5))},
        stage_endpoints={3: running().endpoints},
        thresholds=thresholds(),
        notes=("agent-2: retrying after 503 SlowDown",),
    )


def _spread(op: str, median_us: float, count: int) -> OpDistribution:
    """Latencies around a median, with a long tail."""
    figures = Figures(ops=count, errors=14 if op == "put" else 0)
    samples = [int(1000 * median_us * math.exp(0.45 * math.sin(n * 0.7) + 0.9 * (n / 1999) ** 12)) for n in range(2000)]
    figures.service.record(samples)
    figures.service.counts *= np.uint64(count // 2000)
    figures.service.sum_us *= count // 2000
    return distribution(op, op if op in ("get", "put") else "meta", figures)


def _agent_stage(number: int) -> AgentStageView:
    rates = _rates(number)
    limited = "a worker process used 84 % of its core" if number == 3 else ""
    return AgentStageView(f"agent-{number}", 60.0, rates, 203_100, 12_600 * int(MIB), 14 * (number == 2), 0.25, limited)


def thresholds() -> tuple[ThresholdView, ...]:
    """One that is met, one that is missed, one that has nothing to go by yet."""
    fast = ThresholdView("throughput >= 1GiB/s", "throughput", "fleet", 3, "execute", Unit.BYTES_PER_SECOND.value)
    slow = ThresholdView("get.p99 <= 8ms", "get.p99", "agent", 3, "execute", Unit.SECONDS.value)
    return (
        replace(fast, minimum=1024 * MIB, status=ThresholdStatus.MET, value=1120 * MIB, margin=0.09),
        replace(
            slow,
            maximum=0.008,
            status=ThresholdStatus.MISSED,
            failed=True,
            value=0.0142,
            margin=-0.78,
            subject="agent-2",
            subjects=4,
        ),
        ThresholdView("errors.rate <= 0.1%", "errors.rate", "fleet", 4, "cleanup", Unit.SHARE.value, None, 0.001),
    )
