"""The control room on a real (pseudo) terminal: how it leaves it, and what it leaves on it."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.waiting import wait_until

LEFT_ALTERNATE_SCREEN = b"\x1b[?1049l"
CURSOR_SHOWN = b"\x1b[?25h"
MOUSE_OFF = b"\x1b[?1000l"


class Room:
    """A control room in a process of its own, and everything it has drawn."""

    def __init__(self, process: subprocess.Popen[bytes], outer: int, inner: int) -> None:
        self.process = process
        self.outer = outer
        self.inner = inner
        self.drawn = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while part := os.read(self.outer, 65536):
                self.drawn += part

    def shows(self, text: str) -> bool:
        return wait_until(lambda: text.encode() in self.drawn or self.process.poll() is not None, 30) and (
            text.encode() in self.drawn
        )

    def press(self, keys: str) -> None:
        os.write(self.outer, keys.encode())

    def end(self) -> int:
        """The exit code, once it has ended by itself and all it drew was read."""
        assert wait_until(lambda: self.process.poll() is not None, 30)
        assert wait_until(lambda: LEFT_ALTERNATE_SCREEN in self.drawn, 5)
        return self.process.returncode

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.inner)[3] & termios.ECHO)


@contextmanager
def room(*arguments: str, cwd: Path, kind: type[Room] = Room, module: bool = True, **variables: str) -> Iterator[Room]:
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    environ = dict(os.environ, TERM="xterm-256color", XDG_STATE_HOME=str(cwd / "state"), NO_COLOR="", **variables)
    process = subprocess.Popen(
        [sys.executable, *(("-m", "sai3tui") if module else ()), *arguments],
        cwd=cwd,
        env=environ,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    try:
        yield kind(process, outer, inner)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(inner)
        os.close(outer)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=lambda v: str(v)
)
def test_a_signal_restores_the_terminal(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with room(cwd=tmp_path) as it:
        assert it.shows("No runs here yet.")
        assert not it.echoes
        it.process.send_signal(number)
        assert it.end() == code
        for sequence in (CURSOR_SHOWN, MOUSE_OFF):
            assert sequence in it.drawn
        assert it.echoes


def test_q_leaves_an_idle_room(tmp_path: Path) -> None:
    with room(cwd=tmp_path) as it:
        assert it.shows("No runs here yet.")
        it.press("q")
        assert it.end() == 0
        assert it.echoes
        assert b"Traceback" not in it.drawn
        kept, set_, back = (it.drawn.index(part) for part in (b"\x1b[22;2t", b"\x1b]2;sai3tui\x07", b"\x1b[23;2t"))
        assert kept < set_ < back


def test_a_terminal_that_goes_away_without_a_signal_ends_the_room(tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    environ = dict(os.environ, TERM="xterm-256color", XDG_STATE_HOME=str(tmp_path / "state"))
    # It has no controlling terminal, so that nobody sends it SIGHUP.
    with subprocess.Popen(
        [sys.executable, "-m", "sai3tui"],
        cwd=tmp_path,
        env=environ,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    ) as process:
        try:
            os.close(inner)
            drawn = b""
            while b"No runs here yet." not in drawn:
                drawn += os.read(outer, 65536)
            os.close(outer)
            assert process.wait(30) == 128 + signal.SIGHUP
        finally:
            process.kill()


def test_another_editor_has_the_terminal_and_gives_it_back(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("duration: 1313s\n")
    with room("run.yaml", cwd=tmp_path, EDITOR="sed -i s/1313/4242/", VISUAL="") as it:
        assert it.shows("1313s")
        it.press("\x1bOS")
        assert it.shows("4242s")
        assert it.drawn.index(LEFT_ALTERNATE_SCREEN) < it.drawn.index(b"4242s")
        # What is copied is handed to the terminal, which may be on another host: shift+down marks a line.
        it.press("\x1b[1;2B")
        it.press("\x03")
        copied = base64.b64encode(b"duration: 4242s\n").decode()
        assert it.shows(f"\x1b]52;c;{copied}\x07")
        it.press("\x11")
        assert it.end() == 0
        assert it.echoes
    assert (tmp_path / "run.yaml").read_text() == "duration: 1313s\n"


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x00\xff\xfe")
    for name, words in (("none.yaml", "cannot read none.yaml: No such file"), ("binary.yaml", "is not UTF-8 text")):
        with room(name, cwd=tmp_path) as it:
            assert it.shows(words)
            assert it.process.wait(30) == 2
            assert LEFT_ALTERNATE_SCREEN not in it.drawn


def test_without_a_terminal_it_says_what_to_do_instead(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "sai3tui"], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"--batch" in done.stderr
    assert not done.stdout


def test_what_c_libraries_write_goes_to_the_log(tmp_path: Path) -> None:
    """Descriptor 2 is the log's while the screen is up, and the terminal's again afterwards."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sai3tui.terminal import terminal_for_screen\n"
        "with terminal_for_screen(Path('room.log'), verbose=False):\n"
        "    os.write(2, b'noise of a library')\n"
        "    sys.__stderr__.write('the screen')\n"
        "os.write(2, b', and after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert done.stderr == b"the screen, and after"
    assert (tmp_path / "room.log").read_bytes() == b"noise of a library"
