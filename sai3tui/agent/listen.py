"""Where an agent listens, and whom it lets in.

A call without the right token is refused before a byte of its payload is read or parsed. With certificates the TLS
handshake already refuses everybody whom our CA has not signed as a controller.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from sai3tui.access import TOKEN_HEADER, Access
from sai3tui.errors import ConfigError, ErrorContext, ResourceError

logger = logging.getLogger(__name__)

MAX_RECEIVED_BYTES = 16 * 1024 * 1024
MAX_SENT_BYTES = 64 * 1024 * 1024
MAX_CALLS = 64
MAX_HEADER_BYTES = 16 * 1024
HANDSHAKE_MS = 10_000
REFUSAL_LOG_S = 10.0

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    ("grpc.max_send_message_length", MAX_SENT_BYTES),
    ("grpc.max_metadata_size", MAX_HEADER_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
    ("grpc.max_concurrent_streams", MAX_CALLS),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


def make_server(access: Access) -> grpc.aio.Server:
    """A server that asks every call for the token of `access`, if it has one."""
    guards = (TokenGuard(access.token),) if access.token else ()
    return grpc.aio.server(interceptors=guards, options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)


def add_port(server: grpc.aio.Server, host: str, port: int, access: Access) -> int:
    """Listen; returns the port, which is another one than 0. Raises ResourceError if that is not possible."""
    _check_port(host, port)
    place = address_text(host, port)
    try:
        if access.identity is None:
            return server.add_insecure_port(place)
        identity = access.identity
        credentials = grpc.ssl_server_credentials(
            [(identity.key, identity.certificate)], root_certificates=identity.authority, require_client_auth=True
        )
        return server.add_secure_port(place, credentials)
    except RuntimeError as error:
        raise _unusable_port(host, port) from error


class TokenGuard(grpc.aio.ServerInterceptor):
    """Refuses calls that do not show the token."""

    def __init__(self, token: str) -> None:
        self._expected = _digest(f"Bearer {token}")
        self._refused = 0
        self._logged = -REFUSAL_LOG_S

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Asked, Answered] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Asked, Answered] | None:
        given = [str(value) for key, value in handler_call_details.invocation_metadata or () if key == TOKEN_HEADER]
        # Digests have one length, so the time that this takes says nothing about the token.
        if len(given) == 1 and hmac.compare_digest(_digest(given[0]), self._expected):
            return await continuation(handler_call_details)
        # No deserializer, and a stream: nothing of what the caller sends is taken in.
        refusal: grpc.RpcMethodHandler[Asked, Answered] = grpc.stream_stream_rpc_method_handler(self._refuse)
        return refusal

    async def _refuse(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged >= REFUSAL_LOG_S:
            # Not every one: who knocks a million times must not fill the disk.
            text = "%d call(s) without the right token were refused, the last one of %s"
            logger.warning(text, self._refused, context.peer())
            self._logged, self._refused = now, 0
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this agent asks for a token, and that was not it")


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises ConfigError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not an address to listen on", hint="write HOST:PORT, as in 127.0.0.1:7167")
    return host, int(port)


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_exposure(host: str, access: Access, *, insecure: bool) -> bool:
    """Whether everybody who reaches `host` may give orders. Raises ConfigError unless that is said with `insecure`."""
    if all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in _addresses(host)):
        return False
    if access.authenticates:
        if not access.encrypts:
            logger.warning("the token is asked for without TLS: who can read the network can read it; --certs encrypts")
        return False
    if not insecure:
        raise ConfigError(
            f"{host} can be reached from other hosts, and an agent does what it is told without asking who tells it",
            hint="give it certificates (sai3tui certs) with --certs, or a token with --token-file; or listen on "
            "127.0.0.1 and use an ssh tunnel; or say --insecure on a network that you trust",
        )
    logger.warning("INSECURE: everybody who reaches %s can have this agent read, write and delete objects", host)
    return True


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"the host {host!r} of --listen has no address", hint="use an address of this host"
        ) from error
    return [str(entry[4][0]) for entry in found]


def _check_port(host: str, port: int) -> None:
    """gRPC only says that it failed; a socket of our own says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _unusable_port(host, port) from error


def _unusable_port(host: str, port: int) -> ResourceError:
    return ResourceError(
        f"cannot listen on {address_text(host, port)}",
        hint="is another agent running there? choose another port with --listen",
        context=ErrorContext(endpoint=address_text(host, port)),
    )
