"""The custom stage: a command on the agent's host. No shell reads it, and nothing of it outlives the stage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process, create_subprocess_exec
from collections import deque

from sai3tui.agent.command import command_of, environment_of, not_started
from sai3tui.agent.setup import check_custom
from sai3tui.agent.stages.base import StageContext
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import Level
from sai3tui.processes import guarded

MAX_LINES = 200
"""So many lines of output are told; of more, only the last few and how many there were."""
MAX_LINE_BYTES = 1000
TAIL_LINES = 5
END_GRACE_S = 1.0
"""How long the command has to end after SIGTERM, before SIGKILL."""
READ_BYTES = 64 * 1024


async def run(context: StageContext) -> None:
    """Raises StageError if the command cannot be started or does not end with 0, Sai3Error of kind PERMISSION if this
    agent runs no commands."""
    setup, stage = context.setup, context.stage
    check_custom(stage, setup.limits)
    await context.wait_for_start()
    command = command_of(setup, stage)
    try:
        process = await create_subprocess_exec(
            *guarded(command),
            # Held open and never written to: it ends with this agent, and the command with it.
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=setup.limits.data_dir,
            env=environment_of(setup, stage),
            # A group of its own, so that whatever it starts can be ended with it.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise not_started(stage) from error
    output = _Output(context)
    try:
        await output.read(process)
        code = await process.wait()
    finally:
        await end_group(process)
        output.close()
    context.progress.ended()
    if code != 0:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        text = f"the command {stage.command!r} {how}"
        raise context.failed(Failure(ErrorKind.RESOURCE, text, tuple(reversed(output.tail))))


async def end_group(process: Process) -> None:
    """End what is left of the process group: by asking, then by force, and at once by force if this is cancelled."""
    try:
        if _told(process, signal.SIGTERM):
            await _gone(process)
    finally:
        killed = _told(process, signal.SIGKILL)
    if killed:
        await _gone(process)


def _told(process: Process, number: signal.Signals) -> bool:
    """Whether there was anybody left to get the signal."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


async def _gone(process: Process) -> None:
    """Wait for the end of the command, for a bounded time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_GRACE_S):
            await process.wait()


class _Output:
    """Tells what the command writes, line by line and bounded."""

    def __init__(self, context: StageContext) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._context = context
        self._lines = 0
        self._rest = b""

    async def read(self, process: Process) -> None:
        """Until the command has ended, even if somebody that it started still has its output."""
        stream = process.stdout
        assert stream is not None
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(stream))
            ended = group.create_task(process.wait())
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # What it wrote last may still be on its way.
                await asyncio.wait({reading}, timeout=END_GRACE_S)
            reading.cancel()
            ended.cancel()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(READ_BYTES):
            self._take(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tell(line)
        # A line without end is told as far as it goes.
        if len(rest) > MAX_LINE_BYTES:
            self._tell(rest)
            rest = b""
        self._rest = rest

    def _tell(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
        text = "".join(c if c.isprintable() else " " for c in text)
        if not text:
            return
        self._lines += 1
        self.tail.append(text)
        if self._lines <= MAX_LINES:
            self._context.note(Level.INFO, f"{self._context.stage.name}: {text}", "command-output")

    def close(self) -> None:
        """What was written without an end of line, and how much was not told."""
        if self._rest:
            self._tell(self._rest)
            self._rest = b""
        if self._lines > MAX_LINES:
            text = f"{self._context.stage.name}: {self._lines - MAX_LINES} more lines of output are not shown"
            self._context.note(Level.INFO, text, "command-output")
