"""Child processes that cannot outlive their parent, and directories that are gone with their owner.

Children are started in a session of their own (a Ctrl-C at the terminal reaches the front only, which then ends them in
order) and on a leash: the kernel ends them when the thread that started them ends (PR_SET_PDEATHSIG), kill -9 of the
front included. So start them from the main thread, or from a thread that lives as long as they are wanted.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from sai3tui.errors import ResourceError, Sai3Error

# exec keeps the parent-death signal, and a fresh interpreter may call prctl where a preexec_fn in a process with
# threads may not. The parent can die before prctl is called, hence the look at getppid.
_LEASH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# Removes a directory once the pipe on its standard input ends, which happens however its owner ends. What the owner
# had started may need some seconds to end as well, and writes into it until then.
_SWEEPER = """
import os, shutil, sys, time
while os.read(0, 4096):
    pass
for _ in range(300):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.1)
"""

# Runs a command in this process group and ends with it in the same way. Kills the whole group, itself included, once
# the pipe on standard input ends before the command has: then its owner is gone, however that came about. PDEATHSIG
# would end the command alone, and not what that has started.
_GUARD = """
import os, signal, sys, threading
signal.signal(signal.SIGTERM, lambda number, frame: None)
owner = os.dup(0)
null = os.open(os.devnull, os.O_RDONLY)
os.dup2(null, 0)
os.close(null)
try:
    reset = [signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, setsigdef=reset)
except OSError as error:
    print("cannot be started:", error)
    sys.exit(127)
def watch():
    while os.read(owner, 4096):
        pass
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""

T = TypeVar("T")

READY_POLL_S = 0.02
END_GRACE_S = 5.0


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody listened on a moment ago. Another process can still take it first."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def guarded(command: Sequence[str]) -> list[str]:
    """`command` so that nothing of its process group outlives who starts it: kill -9 included.

    Start it in a session of its own, with a pipe as standard input that only the starter holds and never writes to. It
    ends as the command ends, or with code 127 if that cannot be started, which it says.
    """
    return [sys.executable, "-I", "-S", "-c", _GUARD, *command]


@dataclass(slots=True)
class Child:
    """One process that we started and will end. `log` holds what it wrote."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log, for messages; empty if there is none."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def end(self, grace_s: float = END_GRACE_S) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds. Idempotent; returns when the process is gone."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def listens(child: Child, port: int) -> bool:
    """Whether `child` itself, and not some other process, listens on the TCP port."""
    try:
        sockets = psutil.Process(child.pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in sockets)


def start_child(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    environ: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start `command` on a leash with its output appended to `log`.

    `environ` replaces the whole environment if given. Raises ResourceError if it cannot be started.
    """
    leashed = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), str(int(death_signal)), *command]
    try:
        with log.open("ab") as sink:
            process = subprocess.Popen(
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if environ is None else dict(environ),
                start_new_session=True,
            )
    except OSError as error:
        raise ResourceError(f"cannot start {name}", hint="check free memory, processes and disk") from error
    return Child(name, process, log)


def wait_ready(child: Child, ready: Callable[[], bool], timeout_s: float) -> None:
    """Block until `ready()` is true. Raises ResourceError if the child ends or `timeout_s` seconds pass first."""
    deadline = time.monotonic() + timeout_s
    while True:
        code = child.process.poll()
        if code is not None:
            raise ResourceError(
                f"{child.name} ended with code {code} before it was ready: {child.log_tail() or 'no output'}",
                hint=f"its log: {child.log}",
            )
        if ready():
            return
        if time.monotonic() >= deadline:
            raise ResourceError(
                f"{child.name} was not ready after {timeout_s:.0f} s: {child.log_tail() or 'no output'}",
                hint=f"its log: {child.log}",
            )
        time.sleep(READY_POLL_S)


def end_all(children: Sequence[Child], grace_s: float = END_GRACE_S) -> None:
    """End several children at once, last started first; they share the grace period."""
    for child in reversed(children):
        if child.running:
            child.process.terminate()
    deadline = time.monotonic() + grace_s
    for child in reversed(children):
        child.end(max(0.1, deadline - time.monotonic()))


def collect_seldom() -> None:
    """For a process that is about to lead a run: what is loaded by now stays, so collections need not walk through it;
    and a report of an agent makes a hundred objects, none of them in a cycle, so they need not begin at every few."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


class OwnedDirectory:
    """A temporary directory that is removed when its owner leaves it, or dies in whatever way."""

    def __init__(self, prefix: str = "sai3tui-") -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
        except OSError as error:
            raise ResourceError("cannot make a temporary directory", hint="set TMPDIR to a writable place") from error
        self._sweeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SWEEPER, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def remove(self) -> None:
        """Remove it now. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._sweeper.stdin is not None:
            self._sweeper.stdin.close()
        self._sweeper.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def start_with_retries(attempt: Callable[[], T], tries: int = 3) -> T:
    """Call `attempt` until it raises no ResourceError: a free port can be taken between choosing and using it."""
    for left in range(tries - 1, -1, -1):
        try:
            return attempt()
        except ResourceError as error:
            if left == 0 or not port_was_taken(error):
                raise
    raise AssertionError("unreachable: tries must be at least 1")


def port_was_taken(error: Sai3Error) -> bool:
    """Whether a child ended because its port was in use."""
    return "in use" in error.message
