"""The agent process: where it listens, what it locks, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_data_dir

from sai3tui.access import TOKEN_VARIABLE, Access, Role, load_access
from sai3tui.agent.data_lock import locked
from sai3tui.errors import printable
from sai3tui.state.layout import caches_of
from sai3tui.state.scratch import clear

logger = logging.getLogger(__name__)

STOP_GRACE_S = 1.0
LIBRARY_WINDOW_S = 60.0
LIBRARY_MESSAGES = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What the command line says. `listen` is HOST:PORT, port 0 takes any; `data_dir` None: the user's, by port.
    `certs` and `token_file` None: what the environment names."""

    listen: str
    data_dir: Path | None = None
    allow_path: tuple[Path, ...] = ()
    allow_custom: bool = False
    insecure: bool = False
    certs: Path | None = None
    token_file: Path | None = None
    verbose: bool = False


def run_agent(options: AgentOptions) -> int:
    """Serve until a signal ends it, and return the exit code.

    Raises ConfigError for a `listen` that is no address or is open to others without `insecure`, and for certificates
    or a token that cannot be used; ResourceError for a port or data directory that is in use.
    """
    _log_to_stderr(verbose=options.verbose)
    # gRPC's C core writes to stderr in a format of its own; what matters of it reaches us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from sai3tui.agent.listen import check_exposure, parse_listen

    host, port = parse_listen(options.listen)
    access = load_access(Role.AGENT, options.certs, options.token_file, os.environ)
    # Neither workers nor commands of custom stages need to know it.
    os.environ.pop(TOKEN_VARIABLE, None)
    insecure = check_exposure(host, access, insecure=options.insecure)
    _raise_descriptor_limit()
    return asyncio.run(_serve(host, port, access, options, insecure=insecure))


async def _serve(host: str, port: int, access: Access, options: AgentOptions, *, insecure: bool) -> int:
    from sai3tui.agent.listen import add_port, address_text, make_server
    from sai3tui.agent.run_thread import RunThread
    from sai3tui.agent.service import AgentService
    from sai3tui.agent.setup import AgentLimits
    from sai3tui.proto.sai3tui_pb2_grpc import add_AgentServicer_to_server

    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    server = make_server(access)
    port = add_port(server, host, port, access)
    data_dir = (options.data_dir or Path(user_data_dir("sai3tui")) / f"agent-{port}").absolute()
    with locked(data_dir, "data directory", "choose another one with --data-dir"), RunThread() as thread:
        clear(caches_of(data_dir))
        async with asyncio.TaskGroup() as runs:
            allowed = tuple(path.absolute() for path in options.allow_path)
            limits = AgentLimits(data_dir, allowed, allow_custom=options.allow_custom)
            service = AgentService(limits, os.environ, runs, thread, insecure=insecure, encrypted=access.encrypts)
            add_AgentServicer_to_server(service, server)
            await server.start()
            # A thread that nobody waits for: the agent may end before.
            threading.Thread(target=_load_clients, name="load-clients", daemon=True).start()
            logger.info(
                "sai3tui %s agent listens on %s, data in %s", version("sai3tui"), address_text(host, port), data_dir
            )
            number = await stopped
            logger.info("stopped by %s", number.name)
            await service.shut_down(f"the agent was stopped by {number.name}")
            await server.stop(STOP_GRACE_S)
    return 128 + number


def _load_clients() -> None:
    """Load what preflight asks the storage with: a second of processor time that the first check would wait for."""
    from sai3tui.storage.botos import service_models

    service_models()
    # A client would load it when it is made.
    import_module("aioboto3.s3.inject")


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Printable(logging.Formatter):
    """What controllers and storages say is in the log too, and somebody reads it in a terminal. A message is one line,
    so that none can look like another one; tracebacks have theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


class _Sparing(logging.Filter):
    """Lets few messages of libraries through: gRPC logs each call that it cannot parse, and who sends a million of them
    must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._window, self._told = 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("sai3tui"):
            return True
        now = time.monotonic()
        if now - self._window > LIBRARY_WINDOW_S:
            self._window, self._told = now, 0
        self._told += 1
        return self._told <= LIBRARY_MESSAGES


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Sparing())
    formatter = _Printable("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sai3tui").setLevel(logging.DEBUG if verbose else logging.INFO)
