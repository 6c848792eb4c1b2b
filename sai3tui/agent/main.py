"""The agent process: where it listens, what it locks, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_data_dir

from sai3tui.errors import ConfigError, ErrorContext, ResourceError

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
STOP_GRACE_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What the command line says. `listen` is HOST:PORT, port 0 takes any; `data_dir` None: the user's, by port."""

    listen: str
    data_dir: Path | None = None
    allow_path: tuple[Path, ...] = ()
    insecure: bool = False
    verbose: bool = False


def run_agent(options: AgentOptions) -> int:
    """Serve until a signal ends it, and return the exit code. Raises ConfigError for a `listen` that is no address or
    is open to others without `insecure`, ResourceError for a port or data directory that is in use."""
    _log_to_stderr(verbose=options.verbose)
    # gRPC's C core writes to stderr in a format of its own; what matters of it reaches us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    host, port = _parse_listen(options.listen)
    _check_exposure(host, options)
    _raise_descriptor_limit()
    return asyncio.run(_serve(host, port, options))


async def _serve(host: str, port: int, options: AgentOptions) -> int:
    import grpc

    from sai3tui.agent.service import AgentService
    from sai3tui.agent.setup import AgentLimits
    from sai3tui.proto.sai3tui_pb2_grpc import add_AgentServicer_to_server

    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    server = grpc.aio.server(
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 0),
        )
    )
    _check_port(host, port)
    try:
        port = server.add_insecure_port(_address(host, port))
    except RuntimeError as error:
        raise _unusable_port(host, port) from error
    data_dir = (options.data_dir or Path(user_data_dir("sai3tui")) / f"agent-{port}").absolute()
    with _locked(data_dir):
        async with asyncio.TaskGroup() as runs:
            limits = AgentLimits(data_dir, tuple(path.absolute() for path in options.allow_path))
            service = AgentService(limits, os.environ, runs, insecure=options.insecure)
            add_AgentServicer_to_server(service, server)
            await server.start()
            logger.info(
                "sai3tui %s agent listens on %s, data in %s", version("sai3tui"), _address(host, port), data_dir
            )
            number = await stopped
            logger.info("stopped by %s", number.name)
            await service.shut_down(f"the agent was stopped by {number.name}")
            await server.stop(STOP_GRACE_S)
    return 128 + number


def _parse_listen(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not an address to listen on", hint="write HOST:PORT, as in 127.0.0.1:7167")
    return host, int(port)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"the host {host!r} of --listen has no address", hint="use an address of this host"
        ) from error
    return [str(entry[4][0]) for entry in found]


def _check_exposure(host: str, options: AgentOptions) -> None:
    if all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in _addresses(host)):
        return
    if not options.insecure:
        raise ConfigError(
            f"{options.listen} can be reached from other hosts, and an agent does what it is told without asking who "
            "tells it",
            hint="listen on 127.0.0.1 and use an ssh tunnel, or say --insecure on a network that you trust",
        )
    logger.warning(
        "INSECURE: everybody who reaches %s can have this agent read, write and delete objects", options.listen
    )


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
        f"cannot listen on {_address(host, port)}",
        hint="is another agent running there? choose another port with --listen",
        context=ErrorContext(endpoint=_address(host, port)),
    )


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory, which two agents cannot share. Raises ResourceError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("w")
    except OSError as error:
        raise ResourceError(
            f"the data directory {data_dir} cannot be used",
            hint="choose another one with --data-dir",
            context=ErrorContext(uri=str(data_dir)),
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResourceError(
                f"the data directory {data_dir} is in use by another agent",
                hint="choose another one with --data-dir",
                context=ErrorContext(uri=str(data_dir)),
            ) from error
        yield


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sai3tui").setLevel(logging.DEBUG if verbose else logging.INFO)
