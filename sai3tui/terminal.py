"""Keeps the terminal the screen's alone: what C libraries write to file descriptor 2 goes to a file meanwhile."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

WEB_DRIVER = "textual.drivers.web_driver:WebDriver"
LOG_NAME = "control-room.log"
KEEP_TITLE = b"\x1b[22;2t"
GIVE_TITLE_BACK = b"\x1b[23;2t"


def log_file() -> Path:
    """Where the control room logs: below the user's state directory, or the temporary one if that cannot be had."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    directory = Path(state) / "sai3tui"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / LOG_NAME
        path.open("ab").close()
    except OSError:
        return Path(tempfile.gettempdir()) / f"sai3tui-{os.getuid()}-{LOG_NAME}"
    return path


def is_served() -> bool:
    """Whether this process draws for a browser: it has no terminal then, and needs none."""
    return os.environ.get("TEXTUAL_DRIVER") == WEB_DRIVER


def terminal_is_gone() -> bool:
    """Whether the terminal on standard input has hung up."""
    try:
        termios.tcgetattr(0)
    except termios.error as error:
        return bool(error.args and error.args[0] == errno.EIO)
    return False


class ScreenFile(io.FileIO):
    """A terminal that may go away: what is written after that is dropped.

    Textual's writer thread ends with the first failing write, and then everybody who draws waits for it for ever.
    """

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextmanager
def terminal_for_screen(log: Path, *, verbose: bool) -> Iterator[None]:
    """Textual draws on a copy of descriptor 2; the descriptor itself, and Python's logging, lead to `log`."""
    # gRPC reads this once, when it is loaded; it would print to descriptor 2 otherwise.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.stderr.flush()
    screen = os.dup(2)
    before = sys.__stderr__
    _say_to_terminal(screen, KEEP_TITLE)
    handler: logging.Handler | None = None
    with log.open("ab", buffering=0) as sink:
        os.dup2(sink.fileno(), 2)
        sys.__stderr__ = io.TextIOWrapper(ScreenFile(screen, "wb", closefd=False), "utf-8", write_through=True)  # type: ignore[misc]
        handler = logging.FileHandler(log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        others, level = root.handlers[:], root.level
        root.handlers[:] = [handler]
        root.setLevel(logging.DEBUG if verbose else logging.WARNING)
        try:
            yield
        finally:
            root.handlers[:] = others
            root.setLevel(level)
            handler.close()
            with suppress(OSError, ValueError):
                sys.__stderr__.flush()
            _say_to_terminal(screen, GIVE_TITLE_BACK)
            os.dup2(screen, 2)
            sys.__stderr__ = before  # type: ignore[misc]
            os.close(screen)


def _say_to_terminal(descriptor: int, sequence: bytes) -> None:
    """Write a control sequence, if there is a terminal to read it."""
    with suppress(OSError):
        if os.isatty(descriptor):
            os.write(descriptor, sequence)
