"""The control room under a bad terminal: resized without end, not read, crashing; and in a browser."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sai3tui.processes import free_port
from tests.test_ui_terminal import CURSOR_SHOWN, MOUSE_OFF, Room, room
from tests.waiting import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = ((80, 24), (52, 10), (200, 60), (120, 36), (20, 3), (60, 16), (1, 1), (99, 29))
CONFIG = """\
target: "file://{directory}/"
duration: 3s
concurrency: 2
prepare:
  ensure_objects: [{{base_uri: "data/", count: 20, size_spec: 4KiB}}]
workload:
  - {{op: get, path: "data/*", weight: 100}}
"""


class PausingRoom(Room):
    """A room whose terminal can be left unread."""

    reading = threading.Event()

    def _read(self) -> None:
        # Longer than any test leaves it unread: a reader that has given up never reads again.
        while self.reading.wait(600):
            try:
                part = os.read(self.outer, 65536)
            except OSError:
                return
            if not part:
                return
            self.drawn += part


def resize(it: Room, width: int, height: int) -> None:
    fcntl.ioctl(it.inner, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    it.process.send_signal(signal.SIGWINCH)


def test_a_storm_of_sizes_leaves_it_working(tmp_path: Path) -> None:
    with room(cwd=tmp_path) as it:
        assert it.shows("No runs here yet.")
        for _ in range(15):
            for width, height in SIZES:
                resize(it, width, height)
        resize(it, 120, 36)
        before = len(it.drawn)
        it.press("n")
        assert wait_until(lambda: b"Begin with" in it.drawn[before:], 30)
        it.press("\x11")
        assert it.end() == 0
        assert b"Traceback" not in it.drawn
        assert it.echoes


def run_unread(tmp_path: Path, config: str, within_s: float) -> None:
    """Start a run, read nothing until its results are there, then leave."""
    (tmp_path / "data").mkdir()
    (tmp_path / "run.yaml").write_text(config.format(directory=tmp_path / "data"))
    PausingRoom.reading.set()
    with room("run.yaml", cwd=tmp_path, kind=PausingRoom) as it:
        assert it.shows("valid")
        it.press("\x1b[15~")
        assert it.shows("All checks passed")
        it.press("\x1b[15~")
        assert wait_until(lambda: any(tmp_path.glob("sai3-2*/events.jsonl")), 30)
        PausingRoom.reading.clear()
        assert wait_until(
            lambda: any("SUCCESS" in f.read_text() for f in tmp_path.glob("sai3-2*/STATUS.txt")), within_s
        )
        PausingRoom.reading.set()
        assert it.shows("SUCCESS")
        it.press("\x11")
        assert it.end() == 0
        assert it.echoes


def test_a_terminal_that_is_not_read_does_not_stop_the_run(tmp_path: Path) -> None:
    run_unread(tmp_path, CONFIG, 60)


@pytest.mark.slow
def test_a_terminal_that_is_not_read_for_a_minute_does_not_stop_the_run(tmp_path: Path) -> None:
    run_unread(tmp_path, CONFIG.replace("duration: 3s", "duration: 60s"), 150)


def test_a_crash_of_the_screens_restores_the_terminal(tmp_path: Path) -> None:
    """Whatever breaks: the terminal is as it was, and the last words say where to look."""
    program = (
        "import sys\n"
        "from sai3tui.screens.home import HomeScreen\n"
        "def broken(self, event):\n    raise ZeroDivisionError('a defect of ours')\n"
        "HomeScreen.action_filter = lambda self: broken(self, None)\n"
        "from sai3tui.cli import main\n"
        "sys.exit(main([]))\n"
    )
    with room("-c", program, cwd=tmp_path, module=False) as it:
        assert it.shows("No runs here yet.")
        it.press("/")
        assert it.end() == 1
        for sequence in (CURSOR_SHOWN, MOUSE_OFF):
            assert sequence in it.drawn
        assert it.echoes
        assert wait_until(lambda: b"broke off because of a defect" in it.drawn, 10)


def test_serving_is_for_this_host_unless_told_otherwise() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sai3tui", "serve", "--host", "0.0.0.0"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"--allow-remote" in done.stderr


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a control room that is served, once its page can be had."""
    port = free_port()
    environ = dict(os.environ, XDG_STATE_HOME=str(tmp_path / "state"))
    words = tmp_path / "words"
    with words.open("wb") as sink:
        server = subprocess.Popen(
            [sys.executable, "-m", "sai3tui", "serve", "--port", str(port), "--results", str(tmp_path)],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=sink,
        )
    try:
        page: list[bytes] = []

        def told() -> str:
            found = re.search(rf"http://127.0.0.1:{port}/\S+/", words.read_text())
            return found[0] if found else ""

        def reached() -> bool:
            try:
                with urllib.request.urlopen(told(), timeout=5) as answer:
                    page.append(answer.read())
            except (OSError, ValueError):
                return False
            return True

        assert wait_until(reached, 60)
        assert b"sai3tui" in page[0]
        socket_url = told().replace("http:", "ws:") + "ws"
        assert f'data-session-websocket-url="{socket_url}"'.encode() in page[0]
        yield told()
    finally:
        server.terminate()
        server.wait(30)


def test_the_control_room_over_a_websocket(served: str) -> None:
    """For whoever knows the whole address: a page of another site, or another user here, knows the port at most."""
    port = served.split("/")[2]
    for guess in (f"http://{port}/", f"http://{port}/ws", f"http://{port}/guess/", f"http://{port}/guess/ws"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(guess, timeout=30)
        with caught.value as answer:
            assert answer.code == 404
    command = [sys.executable, "-m", "tests.browser", served]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert b"No runs here yet." in done.stdout, done.stderr[-2000:]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this host")
def test_the_control_room_in_chromium(served: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.browser", served, str(CHROMIUM), str(tmp_path / "profile")]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.stdout == b"drawn", done.stderr[-2000:]
