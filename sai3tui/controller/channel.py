"""The channel to one agent: encrypted and with a token where the access says so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grpc

from sai3tui.access import TOKEN_HEADER, Access
from sai3tui.proto.sai3tui_pb2_grpc import AgentStub

if TYPE_CHECKING:
    from sai3tui.proto.sai3tui_pb2_grpc import AgentAsyncStub

MOST_MESSAGE_BYTES = 64 * 1024 * 1024
CALLS = ("Hello", "Preflight", "Run", "Abort", "Status", "FetchLog", "OnRecord")


def open_channel(
    address: str, access: Access, *, keepalive_interval_s: float = 30.0, keepalive_timeout_s: float = 10.0
) -> grpc.aio.Channel:
    """A channel to the agent at `address`; nothing is sent yet."""
    options = (
        ("grpc.keepalive_time_ms", int(keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_timeout_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    )
    identity = access.identity
    if identity is None:
        return grpc.aio.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)
    return grpc.aio.secure_channel(address, credentials, options=options)


def open_stub(channel: grpc.aio.Channel, access: Access) -> AgentAsyncStub:
    """The calls of an agent, each with the token of `access`."""
    stub: AgentAsyncStub = AgentStub(channel)
    if access.token:
        # Not an interceptor: those of grpc.aio change what a stream that has ended raises.
        metadata = ((TOKEN_HEADER, f"Bearer {access.token}"),)
        for name in CALLS:
            setattr(stub, name, partial(getattr(stub, name), metadata=metadata))
    return stub
