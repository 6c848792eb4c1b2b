"""Everything that can be known to fail before a run begins, checked by touching it."""

from __future__ import annotations

import asyncio

from sai3tui.agent.checks_host import check_host
from sai3tui.agent.checks_storage import check_endpoint
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Emit
from sai3tui.agent.setup import RunSetup
from sai3tui.events import Finding, Level


async def preflight(setup: RunSetup, emit: Emit, controls: Controls) -> tuple[Finding, ...]:
    """Run all checks of one agent, endpoints at once; `emit` gets each finding as it is made. Never raises for what
    a check finds; returns all findings. The run must not begin if one of them is an error."""
    checks = Checks(setup.agent.id, emit)
    await check_host(setup, checks)
    async with asyncio.TaskGroup() as group:
        for number in range(len(setup.endpoints)):
            group.create_task(check_endpoint(setup, number, checks, controls))
    return checks.findings


def first_error(findings: tuple[Finding, ...]) -> Finding | None:
    """The finding that a failed preflight is reported with."""
    return next((finding for finding in findings if finding.level is Level.ERROR), None)
