"""The state cache, copied into the storage under test, so that another host or an emptied one can go on with it."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from sai3tui.agent.controls import Controls
from sai3tui.agent.setup import RunSetup
from sai3tui.config.units import format_bytes
from sai3tui.errors import ResourceError, Sai3Error, StorageError
from sai3tui.events import Level
from sai3tui.state.generations import Generation, Known
from sai3tui.state.layout import LayoutCache
from sai3tui.state.scratch import scratch
from sai3tui.storage.control import Control
from sai3tui.storage.fileops import StoppedError
from sai3tui.storage.stoppable import Stopped, stoppable

Note = Callable[[Level, str, str], None]
"""`note(level, text, code)` tells whoever watches the run."""

DIRECTORY = ".sai3tui"
MEMBER = "data.mdb"
SUFFIX = ".tar.zst"
MAX_HEADER_BYTES = 64 * 1024
MAX_BYTES = 1024 * 1024 * 1024
"""A checkpoint that unpacks to more than this is not restored."""
READ_TIMEOUT_S = 20.0


class Checkpoints:
    """Checkpoints of one layout. Neither writing nor reading one fails anything: what goes wrong is a warning.

    An agent writes its own. In a shared namespace, where it may go on with what others have done, it also reads and
    removes those of agents that there are no longer: each agent a part of them.
    """

    def __init__(self, setup: RunSetup, cache: LayoutCache, controls: Controls, note: Note) -> None:
        self._setup = setup
        self._cache = cache
        self._controls = controls
        self._note = note
        self._every = setup.config.cache_checkpoint_interval if cache.lasting else 0.0

    def key(self, generation: int) -> str:
        """Where this agent's checkpoint of a generation stands, below the first endpoint's prefix."""
        return f"{self._prefix}{generation}/{self._setup.slot}{SUFFIX}"

    async def keep_writing(self, record: Generation) -> None:
        """Write one every `cache_checkpoint_interval_secs` until cancelled; 0 means never."""
        while self._every:
            await asyncio.sleep(self._every)
            await self.write(record)

    async def write(self, record: Generation) -> None:
        """Write one now, unless checkpoints are switched off."""
        if not self._every:
            return
        try:
            await self._cache.flush()
            data = await stoppable(lambda stopped: pack(self._cache, stopped))
            await (await self._control()).put(self.key(record.number), data)
        except Sai3Error as error:
            self._warn("was not written", error)

    async def write_within(self, record: Generation, seconds: float) -> None:
        """Write one if that takes no longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.write(record)
        except TimeoutError:
            text = f"no checkpoint was written: that would have taken longer than {seconds:g} s"
            self._note(Level.WARNING, text, "checkpoint")

    async def read(self) -> list[Known]:
        """What the newest checkpoints know that is not older than what is here."""
        if not self._every:
            return []
        found: list[Known] = []
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                for number, key in await self._newer():
                    data = await (await self._control()).get(key)
                    if data is not None:
                        found += await self._unpacked(data)
                        self._note(Level.INFO, f"the state of generation {number} was restored from {key}", "restored")
        except Sai3Error as error:
            self._warn("was not restored", error)
        except TimeoutError:
            self._note(Level.WARNING, f"checkpoints were not read within {READ_TIMEOUT_S:g} s", "checkpoint")
        return found

    async def remove(self) -> None:
        """Delete those that are this agent's to read; a run that writes none may find those of an earlier one."""
        try:
            control = await self._control()
            for _, key, _ in [entry async for entry in self._mine()]:
                await control.delete(key)
        except Sai3Error as error:
            self._warn("was not removed", error)

    @property
    def _prefix(self) -> str:
        return f"{DIRECTORY}/{self._setup.layout}/"

    async def _newer(self) -> list[tuple[int, str]]:
        listed = [(number, key) async for number, key, size in self._mine() if size <= MAX_BYTES]
        newest = max((number for number, _ in listed), default=0)
        local = self._cache.latest
        if local is not None and (local.number > newest or (local.number == newest and local.complete)):
            return []
        return [(number, key) for number, key in listed if number == newest]

    async def _mine(self) -> AsyncIterator[tuple[int, str, int]]:
        """Generation, key and size of the checkpoints that this agent reads."""
        agents = len(self._setup.resolved.agents) if self._setup.resolved.shared else 1
        control = await self._control()
        async for key, size in control.list(self._prefix):
            generation, _, name = key[len(self._prefix) :].partition("/")
            slot = name.removesuffix(SUFFIX)
            named = generation.isdecimal() and slot.isdecimal() and name.endswith(SUFFIX)
            if named and int(slot) % agents == self._setup.slot:
                yield int(generation), key, size

    async def _unpacked(self, data: bytes) -> list[Known]:
        with scratch(self._cache.directory.parent, "restore") as directory:
            await asyncio.to_thread(unpack, data, directory)
            other = LayoutCache.open(directory, 0)
            try:
                return other.known()
            finally:
                await other.close()

    async def _control(self) -> Control:
        return await self._controls.of(0)

    def _warn(self, what: str, error: Sai3Error) -> None:
        self._note(Level.WARNING, f"a checkpoint {what}: {error.failure().sentence()}", "checkpoint")


def pack(cache: LayoutCache, stopped: Stopped = lambda: False) -> bytes:
    """What the cache has committed, as a compressed archive. Raises ResourceError, or StoppedError when `stopped` says
    so."""
    try:
        with scratch(cache.directory.parent, "checkpoint") as directory:
            cache.copy_to(directory, stopped)
            return _compress(directory / MEMBER, stopped)
    except OSError as error:
        raise ResourceError(f"cannot make a copy of {cache.directory}") from error


def _compress(path: Path, stopped: Stopped) -> bytes:
    buffer = io.BytesIO()
    size = path.stat().st_size
    if size > MAX_BYTES:
        text = f"the states of the objects take {format_bytes(size)}, which is too much for a checkpoint"
        raise ResourceError(text, hint="what is on record on the agents' hosts and with the controller still counts")
    with (
        zstandard.ZstdCompressor(level=3).stream_writer(buffer, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
        path.open("rb") as file,
    ):
        archive.addfile(archive.gettarinfo(arcname=MEMBER, fileobj=file), _Stoppable(file, stopped))
    return buffer.getvalue()


class _Stoppable:
    """Reads from `source` until it is `stopped`."""

    def __init__(self, source: BinaryIO, stopped: Stopped) -> None:
        self._source = source
        self._stopped = stopped

    def read(self, size: int = -1) -> bytes:
        if self._stopped():
            raise StoppedError("a checkpoint")
        return self._source.read(size)


class _Bounded:
    """Reads from `source`, and no more than is due: what stands before the one member may claim any size, and would be
    taken into memory."""

    def __init__(self, source: BinaryIO) -> None:
        self.left = MAX_HEADER_BYTES
        self._source = source

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.left:
            raise StorageError("what stands there is no checkpoint")
        data = self._source.read(size)
        self.left -= len(data)
        return data


def unpack(data: bytes, directory: Path) -> None:
    """Write the one member of a checkpoint into `directory`. Raises StorageError for anything but a checkpoint."""
    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as plain,
            tarfile.open(fileobj=cast(BinaryIO, bounded := _Bounded(plain)), mode="r|") as archive,
        ):
            member = archive.next()
            if member is None or member.name != MEMBER or member.type != tarfile.REGTYPE or member.size > MAX_BYTES:
                raise StorageError("what stands there is no checkpoint")
            bounded.left += member.size
            content = archive.extractfile(member)
            if content is None:
                raise StorageError("what stands there is no checkpoint")
            with (directory / MEMBER).open("wb") as file:
                written = 0
                while block := content.read(1024 * 1024):
                    written += file.write(block)
            if written != member.size:
                raise StorageError("a checkpoint is cut short")
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError) as error:
        raise StorageError("a checkpoint cannot be unpacked") from error
