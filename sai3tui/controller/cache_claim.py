"""Whose the coordinator cache of a layout is on this host: one run's at a time, and whether that run has ended."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from sai3tui.errors import ResourceError
from sai3tui.events import Level

Note = Callable[[Level, str, str], None]

WAIT_S = 10.0
"""So long whoever comes to a run waits for who led it before on this host to let go."""
POLL_S = 0.1


class CacheClaim:
    """On `directory`, for a run; without a directory there is nothing to claim. The file `lock` there is held, and
    names the run until its end is known here."""

    def __init__(self, directory: Path | None, run_id: str, note: Note) -> None:
        self.directory = directory
        self.doubtful = False
        """Another run was left to go on without a controller on this host: what is on record here may be older than
        what that run did."""
        self._run_id = run_id
        self._note = note
        self._file: TextIO | None = None

    async def wait(self) -> None:
        """Claim it, as soon as it is free; for a bounded time."""
        deadline = time.monotonic() + WAIT_S
        try:
            # Nobody tells when a lock is let go of.
            while not self._try():
                if time.monotonic() >= deadline:
                    break
                await asyncio.sleep(POLL_S)
        except OSError:
            return  # `take` says so

    def take(self) -> Path | None:
        """The directory, if it is ours; else that is told."""
        try:
            if self._try():
                return self.directory
        except OSError as error:
            failure = ResourceError(f"cannot use {self.directory}: {error.strerror}").failure()
            text = f"the controller cannot keep what the fleet has done: {failure.sentence()}"
            self._note(Level.WARNING, text, "coordinator")
            return None
        text = f"{self.directory} is in use by another run: the progress of lost hosts is not kept beyond this run"
        self._note(Level.WARNING, text, "coordinator")
        return None

    def settle(self) -> None:
        """What is on record here is how it is."""
        if self.doubtful:
            self.doubtful = False
            self._name(self._run_id)

    def over(self) -> None:
        """The run has ended, and all that became of it is on record here."""
        if not self.doubtful:
            self._name("")

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _try(self) -> bool:
        if self._file is not None or self.directory is None:
            return True
        self.directory.mkdir(parents=True, exist_ok=True)
        file = (self.directory / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._file = file
        file.seek(0)
        self.doubtful = file.read().strip() not in ("", self._run_id)
        if not self.doubtful:
            self._name(self._run_id)
        return True

    def _name(self, run_id: str) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(run_id)
            self._file.flush()
