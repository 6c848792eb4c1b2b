"""The state cache, copied into the storage under test, so that another host or an emptied one can go on with it."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from pathlib import Path

import zstandard

from sai3tui.agent.stages.base import StageContext
from sai3tui.errors import ResourceError, Sai3Error, StorageError
from sai3tui.events import Level
from sai3tui.state.generations import Generation
from sai3tui.state.layout import LayoutCache
from sai3tui.storage.control import Control

DIRECTORY = ".sai3tui"
MEMBER = "data.mdb"
MAX_BYTES = 1024 * 1024 * 1024
"""A checkpoint that unpacks to more than this is not restored."""


class Checkpoints:
    """Checkpoints of one agent's slot. Writing one never fails a stage: what goes wrong is a warning."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._every = context.setup.config.cache_checkpoint_interval

    def key(self, generation: int) -> str:
        """Where the checkpoint of a generation stands, below the first endpoint's prefix."""
        return f"{DIRECTORY}/{self._context.setup.layout}/{generation}/{self._context.setup.slot}.tar.zst"

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
            data = await pack(self._context.cache)
            await (await self._control()).put(self.key(record.number), data)
        except Sai3Error as error:
            self._warn("was not written", error)

    async def write_quickly(self, record: Generation, seconds: float) -> None:
        """Write one if that takes no longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.write(record)
        except TimeoutError:
            self._context.note(Level.INFO, "no checkpoint was written: that would have taken too long", "checkpoint")

    async def restore(self) -> None:
        """Take over the newest checkpoint of this layout and slot, if there is one and it can be read."""
        if not self._every:
            return
        context = self._context
        prefix, name = f"{DIRECTORY}/{context.setup.layout}/", f"/{context.setup.slot}.tar.zst"
        try:
            control = await self._control()
            numbers = [
                int(part)
                async for key, size in control.list(prefix)
                if key.endswith(name) and (part := key[len(prefix) : -len(name)]).isdecimal() and size <= MAX_BYTES
            ]
            if not numbers:
                return
            data = await control.get(self.key(max(numbers)))
            if data is not None:
                await self._take_over(data)
                context.note(Level.INFO, f"the state of generation {max(numbers)} was restored", "restored")
        except Sai3Error as error:
            self._warn("was not restored", error)

    async def remove(self) -> None:
        """Delete the checkpoints of this slot."""
        if not self._every:
            return
        prefix, name = f"{DIRECTORY}/{self._context.setup.layout}/", f"/{self._context.setup.slot}.tar.zst"
        try:
            control = await self._control()
            for key in [key async for key, _ in control.list(prefix) if key.endswith(name)]:
                await control.delete(key)
        except Sai3Error as error:
            self._warn("was not removed", error)

    async def _take_over(self, data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="restore-", dir=self._context.cache.directory.parent) as directory:
            await asyncio.to_thread(unpack, data, Path(directory))
            other = LayoutCache.open(Path(directory), 0)
            try:
                await self._context.cache.adopt(other)
            finally:
                await other.close()

    async def _control(self) -> Control:
        return await self._context.controls.of(0)

    def _warn(self, what: str, error: Sai3Error) -> None:
        self._context.note(Level.WARNING, f"a checkpoint {what}: {error.failure().sentence()}", "checkpoint")


async def pack(cache: LayoutCache) -> bytes:
    """What the cache has committed, as a compressed archive. Raises ResourceError."""
    try:
        with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=cache.directory.parent) as directory:
            await cache.copy_to(Path(directory))
            return await asyncio.to_thread(_compress, Path(directory) / MEMBER)
    except OSError as error:
        raise ResourceError(f"cannot make a copy of {cache.directory}") from error


def _compress(file: Path) -> bytes:
    buffer = io.BytesIO()
    with (
        zstandard.ZstdCompressor(level=3).stream_writer(buffer, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        archive.add(file, MEMBER, recursive=False)
    return buffer.getvalue()


def unpack(data: bytes, directory: Path) -> None:
    """Write the one member of a checkpoint into `directory`. Raises StorageError for anything but a checkpoint."""
    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            member = archive.next()
            if member is None or member.name != MEMBER or not member.isfile() or member.size > MAX_BYTES:
                raise StorageError("what stands there is no checkpoint")
            content = archive.extractfile(member)
            if content is None:
                raise StorageError("what stands there is no checkpoint")
            with (directory / MEMBER).open("wb") as file:
                while block := content.read(1024 * 1024):
                    file.write(block)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError) as error:
        raise StorageError("a checkpoint cannot be unpacked") from error
