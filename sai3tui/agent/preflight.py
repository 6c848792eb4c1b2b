"""Everything that can be known to fail before a run begins, checked by touching it."""

from __future__ import annotations

import asyncio

from sai3tui.agent.checks_data import check_data, recorded_objects
from sai3tui.agent.checks_host import check_host
from sai3tui.agent.checks_namespace import (
    check_namespace,
    leave_probes,
    look_around,
    look_for_probe,
    remove_probes,
    shares,
)
from sai3tui.agent.checks_storage import check_endpoint
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Emit
from sai3tui.agent.owner import check_owners
from sai3tui.agent.rate import measure_all, measure_each
from sai3tui.agent.setup import RunSetup
from sai3tui.events import Finding, Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import LayoutCache


async def preflight(
    setup: RunSetup, emit: Emit, controls: Controls, last_run_ended_ns: int = 0, cache: LayoutCache | None = None
) -> tuple[Finding, ...]:
    """Run all checks of one agent, host and endpoints at once; `emit` gets each finding as it is made. Never raises
    for what a check finds; returns all findings. The run must not begin if one of them is an error. `cache` is the
    state cache, where it is open already.
    """
    checks = checks_of(setup, emit)
    async with asyncio.TaskGroup() as group:
        group.create_task(check_host(setup, checks, last_run_ended_ns))
        for number in range(len(setup.endpoints)):
            group.create_task(check_endpoint(setup, number, checks, controls))
    if first_error(checks.findings) is None:
        recorded = await recorded_objects(setup, checks, cache)
        await check_owners(setup, checks, controls, recorded)
        await check_data(setup, checks, controls, recorded)
        await check_namespace(setup, checks, controls)
    return checks.findings


async def preflight_step(
    step: pb.PreflightStep.ValueType, setup: RunSetup, emit: Emit, controls: Controls, last_run_ended_ns: int = 0
) -> None:
    """One step of preflight. Raises StorageError where a probe cannot be removed."""
    checks = checks_of(setup, emit)
    if step == pb.PREFLIGHT_CHECK:
        await preflight(setup, emit, controls, last_run_ended_ns)
    elif step == pb.PREFLIGHT_RATE_ALL:
        await measure_all(setup, checks, controls)
    elif step == pb.PREFLIGHT_RATE_EACH:
        await measure_each(setup, checks, controls)
    elif shares(setup):
        if step == pb.PREFLIGHT_LEAVE:
            await leave_probes(setup, checks, controls)
        elif step == pb.PREFLIGHT_LOOK:
            await look_for_probe(setup, checks, controls)
        elif step == pb.PREFLIGHT_LOOK_AROUND:
            await look_around(setup, checks, controls)
        else:
            await remove_probes(setup, controls)


def checks_of(setup: RunSetup, emit: Emit) -> Checks:
    rules = setup.config.preflight
    return Checks(setup.agent.id, emit, skip=rules.skip, warn_only=rules.warn_only | setup.accepted_checks)


def first_error(findings: tuple[Finding, ...]) -> Finding | None:
    """The finding that a failed preflight is reported with."""
    return next((finding for finding in findings if finding.level is Level.ERROR), None)
