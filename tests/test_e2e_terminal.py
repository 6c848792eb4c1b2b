"""The demo in the control room on a real terminal: drawn, driven by keys, and gone when the terminal goes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.waiting import gone, wait_until

ROWS, COLUMNS = 36, 120


class Terminal:
    """The outer end of a pseudo terminal, with a thread that reads what is drawn."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._drawn = bytearray()
        self._gone = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while not self._gone.is_set():
                if select.select([self._end], [], [], 0.05)[0]:
                    self._drawn += os.read(self._end, 65536)
        # Closed by its reader: a close while another thread reads would leave it open until something is drawn.
        os.close(self._end)

    def shows(self, text: str) -> bool:
        """Whether `text` was drawn at any time."""
        return text.encode() in bytes(self._drawn)

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def close(self) -> None:
        """The terminal is gone: its session gets SIGHUP, and writing to it fails. Idempotent."""
        self._gone.set()
        self._reader.join(10)


@contextmanager
def on_terminal(
    *arguments: str, cwd: Path, environ: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """`sai3tui ARGUMENTS` as the leader of a session with a terminal of its own."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "sai3tui", *arguments],
        cwd=cwd,
        env=environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        preexec_fn=lambda: os.login_tty(inner),
    )
    os.close(inner)
    terminal = Terminal(outer)
    try:
        yield process, terminal
    finally:
        terminal.close()
        if process.poll() is None:
            process.kill()
        process.wait()


def live(process: subprocess.Popen[bytes], terminal: Terminal) -> bool:
    """Whether the live screen of a run came up."""
    wait_until(lambda: terminal.shows("Throughput") or process.poll() is not None, 60)
    return terminal.shows("Throughput") and process.poll() is None


def test_a_demo_whose_terminal_goes_away_ends_in_order(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = dict(os.environ, TMPDIR=str(temporary))
    with on_terminal("demo", cwd=tmp_path, environ=environ) as (process, terminal):
        assert live(process, terminal)
        pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        terminal.close()
        assert wait_until(lambda: process.poll() is not None, 40)
        assert process.returncode == 129
    assert wait_until(lambda: all(gone(pid) for pid in pids), 20)
    assert not list(temporary.iterdir())
    (status,) = tmp_path.glob("sai3-*-demo/STATUS.txt")
    assert "exit code 129" in status.read_text()


def test_q_asks_before_it_ends_a_live_run(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = dict(os.environ, TMPDIR=str(temporary))
    with on_terminal("demo", cwd=tmp_path, environ=environ) as (process, terminal):
        assert live(process, terminal)
        terminal.press("q")
        assert wait_until(lambda: terminal.shows("abort it and quit"), 20)
        assert process.poll() is None
        terminal.press("\t\r")
        assert wait_until(lambda: process.poll() is not None, 40)
        assert process.returncode == 130
        # Back from the alternate screen, with a cursor.
        assert terminal.shows("\x1b[?1049l")
        assert terminal.shows("\x1b[?25h")
    assert not list(temporary.iterdir())


def test_the_first_of_several_signals_counts(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = dict(os.environ, TMPDIR=str(temporary))
    with on_terminal("demo", cwd=tmp_path, environ=environ) as (process, terminal):
        assert live(process, terminal)
        process.terminate()
        assert wait_until(lambda: terminal.shows("aborting"), 20)
        # The run may be over at any moment from here on, and the second signal too late; both must end it alike.
        process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: process.poll() is not None, 40)
        assert process.returncode in (143, 129)
    (status,) = tmp_path.glob("sai3-*-demo/STATUS.txt")
    assert "exit code 143" in status.read_text()
    assert not list(temporary.iterdir())
