"""What gRPC says when a call fails, in words that name the agent and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import grpc
from google.protobuf.message import DecodeError

from sai3tui.errors import AgentLostError, ConfigError, ErrorContext, ErrorKind, KnownError, Sai3Error
from sai3tui.event_codec import REFUSAL, failure_from_proto
from sai3tui.proto import sai3tui_pb2 as pb

_START_IT = "start it there with `sai3tui agent --listen HOST:PORT`, or correct its address in the configuration"
_NAME_HINT = "correct the address, or the name server of this host"
_LED = ("this run is led by", "has taken this run over")
LED_HINT = "`sai3tui attach --view` watches it, `sai3tui attach --take-over` leads it from now on"
_CLOSED = "the connection was closed"
_CERTS = "give agents and controller certificates of one CA: see sai3tui certs"
_NAMES = "make its certificate for the name that the configuration has for it: sai3tui certs agent NAME..."
_REASONS = (
    ("Connection refused", "connection refused: nothing listens there", _START_IT),
    ("DNS resolution failed", "its name cannot be resolved", _NAME_HINT),
    ("Name or service not known", "its name cannot be resolved", _NAME_HINT),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the CA that --certs names", _CERTS),
    ("Hostname Verification Check failed", "its certificate is for another name", _NAMES),
    ("certificate required", "it asks for a certificate of a controller", _CERTS),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS, and --certs asks for it", _CERTS),
    ("No route to host", "no route to host", "check the address, the network and firewalls"),
    ("Network is unreachable", "network is unreachable", "check the address and the network of this host"),
    ("keepalive watchdog timeout", "it stopped answering", "check that host and the network to it"),
    ("Connection reset", "the connection was reset", "look at that agent's log: it probably ended"),
    ("Socket closed", _CLOSED, "look at that agent's log: it probably ended"),
    ("Broken pipe", _CLOSED, "look at that agent's log: it probably ended"),
    ("Cancelling all calls", "the agent is ending", "look at that agent's log"),
    ("Internal error from Core", "the connection broke off", "look at that agent's log: it probably ended"),
    ("GOAWAY", "the agent is ending", "look at that agent's log"),
)
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT: ErrorKind.CONFIG,
    grpc.StatusCode.FAILED_PRECONDITION: ErrorKind.RESOURCE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorKind.RESOURCE,
    grpc.StatusCode.PERMISSION_DENIED: ErrorKind.PERMISSION,
    grpc.StatusCode.INTERNAL: ErrorKind.INTERNAL,
    grpc.StatusCode.UNKNOWN: ErrorKind.INTERNAL,
}


def refusal(
    metadata: Iterable[tuple[str, str | bytes]] | None, agent: str, address: str, doing: str
) -> KnownError | None:
    """What an agent refuses a call with, by the call's trailing metadata; None: nothing is said there."""
    for name, value in metadata or ():
        if name == REFUSAL and isinstance(value, bytes):
            with suppress(DecodeError):
                told = failure_from_proto(pb.Failure.FromString(value))
                where = replace(told.context, agent=agent, endpoint=told.context.endpoint or address)
                text = f"agent {agent} at {address} refused {doing}: {told.message}"
                return KnownError(replace(told, message=text, context=where))
    return None


class TakenError(Sai3Error):
    """An agent does not let us lead the run, because another controller does."""


def link_error(error: grpc.aio.AioRpcError, agent: str, address: str, doing: str) -> Sai3Error:
    """`error` as one of ours: what an agent refused keeps the agent's words; everything else is a lost agent."""
    details = (error.details() or "").strip()
    context = ErrorContext(agent=agent, endpoint=address, subclass=error.code().name.lower())
    told = refusal(error.trailing_metadata(), agent, address, doing)
    if told is not None:
        return told
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
            if doing == "hello" and words == _CLOSED:
                hint = "does it ask for certificates (--certs)? else look at that agent's log: it probably ended"
            return AgentLostError(f"cannot reach agent {agent} at {address}: {words}", hint=hint, context=context)
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return Sai3Error(
            f"agent {agent} at {address} refused {doing}: {details}",
            hint="name the token that it was started with: --token-file FILE, or SAI3TUI_TOKEN",
            kind=ErrorKind.AUTH,
            context=context,
        )
    if error.code() in _REFUSALS and details:
        kind = _REFUSALS[error.code()]
        text = f"agent {agent} at {address} refused {doing}: {details}"
        if any(mark in details for mark in _LED):
            return TakenError(text, hint=LED_HINT, kind=kind, context=context)
        return Sai3Error(text, kind=kind, context=context)
    return AgentLostError(
        f"cannot reach agent {agent} at {address}: {details or error.code().name.lower()}",
        hint=_START_IT,
        context=context,
    )
