"""The validation stage: the preflight checks once more, right before the load, by the agent alone."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.agent.preflight import first_error, preflight
from sai3tui.agent.stages.base import StageContext
from sai3tui.errors import ErrorKind, Failure


async def run(context: StageContext) -> None:
    """Raises StageError with the first error that a check found."""
    await context.wait_for_start()
    findings = await preflight(context.setup, context.report_finding, context.controls, cache=context.cache)
    error = first_error(findings)
    if error is None:
        return
    cause = error.failure or Failure(ErrorKind.CONFIG, error.message, hint=error.advice)
    where = f" at {error.subject}" if error.subject else ""
    message = f"preflight check {error.check!r} failed{where}"
    raise context.failed(replace(cause, message=message, causes=(cause.message, *cause.causes)))
