"""Why a run does not start, or an agent does not go on with it, as one failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.grpc_errors import LED_HINT
from sai3tui.controller.request import EXIT_PREFLIGHT, Ending
from sai3tui.errors import AgentLostError, ErrorContext, ErrorKind, Failure, failure_of
from sai3tui.events import Finding, StateChanged
from sai3tui.proto import sai3tui_pb2 as pb


def unreachable(errors: Sequence[BaseException]) -> Failure:
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


def led(leader: str) -> Failure:
    """A run that another controller leads."""
    return Failure(ErrorKind.RESOURCE, f"this run is led by {leader}", hint=LED_HINT)


def not_seated(link: AgentLink, why: Failure | None) -> Failure:
    """An agent that has not taken our stream; `why` it broke, if it did."""
    if why is None:
        return _lost(link, "did not take part in time", "check that host and the network to it")
    failure = _lost(link, "does not take part", why.hint)
    return replace(failure, causes=(why.message, *why.causes))


def unanswered(link: AgentLink) -> Failure:
    """An agent that greets us, and says no more."""
    return _lost(link, "did not say in time what it does", "check that host, its load and the network to it")


def forgotten(link: AgentLink, status: pb.StatusReply, run_id: str) -> Failure:
    """An agent that lives and is not at the run `run_id` any more; nor does its log say how that ended."""
    if status.run_id == run_id:
        return _lost(link, "has ended this run without saying why", "look at its log")
    if status.run_id:
        where = "was at" if status.state == pb.IDLE else "is at"
        return _lost(link, f"has ended this run, and {where} run {status.run_id} since", "look at its log")
    return _lost(link, "does not know this run any more", "it was started anew; look at its log")


def failed_there(item: StateChanged) -> Failure:
    """Why an agent has failed, as it says; or that it does not."""
    failure = item.failure
    if failure is None:
        failure = AgentLostError(
            f"agent {item.agent} failed without saying why: {item.reason or 'no reason given'}",
            hint="look at that agent's log",
        ).failure()
    return failure.with_context(agent=failure.context.agent or item.agent)


def aborted_there(link: AgentLink, reason: str) -> Failure:
    """An agent that has ended the run, though we did not."""
    return AgentLostError(
        f"agent {link.id} aborted the run: {reason or 'no reason given'}",
        hint="look at that agent's log; somebody ended it or aborted the run there",
        context=ErrorContext(agent=link.id, endpoint=link.address),
    ).failure()


def _lost(link: AgentLink, what: str, hint: str) -> Failure:
    return AgentLostError(
        f"agent {link.id} at {link.address} {what}",
        hint=hint,
        context=ErrorContext(agent=link.id, endpoint=link.address),
    ).failure()
