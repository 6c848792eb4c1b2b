"""What gRPC says when a call fails, in words that name the agent and what to do about it."""

from __future__ import annotations

import grpc

from sai3tui.errors import AgentLostError, ConfigError, ErrorContext, ErrorKind, Sai3Error

_START_IT = "start it there with `sai3tui agent --listen HOST:PORT`, or correct its address in the configuration"
_NAME_HINT = "correct the address, or the name server of this host"
_REASONS = (
    ("Connection refused", "connection refused: nothing listens there", _START_IT),
    ("DNS resolution failed", "its name cannot be resolved", _NAME_HINT),
    (
        "Name or service not known",
        "its name cannot be resolved",
        "correct the address, or the name server of this host",
    ),
    ("No route to host", "no route to host", "check the address, the network and firewalls"),
    ("Network is unreachable", "network is unreachable", "check the address and the network of this host"),
    ("keepalive watchdog timeout", "it stopped answering", "check that host and the network to it"),
    ("Connection reset", "the connection was reset", "look at that agent's log: it probably ended"),
    ("Socket closed", "the connection was closed", "look at that agent's log: it probably ended"),
    ("Broken pipe", "the connection was closed", "look at that agent's log: it probably ended"),
    ("Cancelling all calls", "the agent is ending", "look at that agent's log"),
    ("Internal error from Core", "the connection broke off", "look at that agent's log: it probably ended"),
    ("GOAWAY", "the agent is ending", "look at that agent's log"),
)
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT: ErrorKind.CONFIG,
    grpc.StatusCode.FAILED_PRECONDITION: ErrorKind.RESOURCE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorKind.RESOURCE,
    grpc.StatusCode.PERMISSION_DENIED: ErrorKind.PERMISSION,
    grpc.StatusCode.UNAUTHENTICATED: ErrorKind.AUTH,
    grpc.StatusCode.INTERNAL: ErrorKind.INTERNAL,
    grpc.StatusCode.UNKNOWN: ErrorKind.INTERNAL,
}


def link_error(error: grpc.aio.AioRpcError, agent: str, address: str, doing: str) -> Sai3Error:
    """`error` as one of ours: what an agent refused keeps the agent's words; everything else is a lost agent."""
    details = (error.details() or "").strip()
    context = ErrorContext(agent=agent, endpoint=address, subclass=error.code().name.lower())
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return ConfigError(
            f"what answers at {address} is no sai3tui agent, or one of another version",
            hint="check the address; install the same version of sai3tui on all hosts",
            context=context,
        )
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return AgentLostError(
            f"agent {agent} at {address} did not answer in time ({doing})",
            hint="check that host, its load and the network to it",
            context=context,
        )
    for mark, words, hint in _REASONS:
        if mark in details:
            return AgentLostError(f"cannot reach agent {agent} at {address}: {words}", hint=hint, context=context)
    if error.code() in _REFUSALS and details:
        kind = _REFUSALS[error.code()]
        return Sai3Error(f"agent {agent} at {address} refused {doing}: {details}", kind=kind, context=context)
    return AgentLostError(
        f"cannot reach agent {agent} at {address}: {details or error.code().name.lower()}",
        hint=_START_IT,
        context=context,
    )
