"""Why a run does not start, as one failure."""

from __future__ import annotations

from sai3tui.controller.request import EXIT_PREFLIGHT, Ending
from sai3tui.errors import ErrorKind, Failure, failure_of
from sai3tui.events import Finding


def unreachable(errors: list[BaseException]) -> Failure:
    """Agents that cannot be used: the one reason, or how many there are."""
    failures = [failure_of(error) for error in errors]
    if len(failures) == 1:
        return failures[0]
    kinds = {failure.kind for failure in failures}
    return Failure(
        kinds.pop() if len(kinds) == 1 else ErrorKind.AGENT_LOST,
        f"{len(failures)} agents cannot be used",
        tuple(failure.message for failure in failures),
        hint=failures[0].hint,
    )


def preflight_failed(errors: list[Finding]) -> Ending:
    """The first error stands for all."""
    first = errors[0]
    subject = f" {first.subject}" if first.subject else ""
    failure = first.failure or Failure(ErrorKind.STORAGE, first.message, hint=first.advice)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    told = Failure(
        failure.kind,
        f"preflight failed{more}: {first.check}{subject}: {first.message}",
        failure.causes,
        failure.with_context(agent=first.agent).context,
        failure.hint or first.advice,
    )
    return Ending("preflight_failed", EXIT_PREFLIGHT, told, "preflight failed")
