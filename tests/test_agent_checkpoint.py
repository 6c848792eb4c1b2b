"""Checkpoint archives: what was packed comes back, and nothing else is taken for one."""

from __future__ import annotations

import asyncio
import io
import itertools
import subprocess
import sys
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.checkpoint import MAX_BYTES, MEMBER, Checkpoints, pack, unpack
from sai3tui.agent.controls import Controls
from sai3tui.agent.setup import AgentLimits, make_setup
from sai3tui.errors import ResourceError, StorageError
from sai3tui.events import Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state import store
from sai3tui.state.generations import Generation, Holding
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState
from sai3tui.state.store import CLOSER, WRITER
from sai3tui.storage.control import Control, write_file
from sai3tui.storage.engine import PIECE_BYTES
from sai3tui.storage.fileops import StoppedError
from sai3tui.storage.stoppable import stoppable
from tests.waiting import wait_until_async


async def test_what_was_packed_comes_back(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path / "one" / "layout", 1000)
    record = Generation(1, 1, 1, {0: 1000}, (Holding(0, 0, 0, 1000, 1),))
    cache.save(record)
    cache.states(record, 0, 0).set(np.arange(0, 1000, 7), ObjectState.CREATED)
    await cache.flush()
    data = pack(cache)
    await cache.close()
    assert len(data) < 100_000
    (tmp_path / "two").mkdir()
    unpack(data, tmp_path / "two")
    other = LayoutCache.open(tmp_path / "two", 1000)
    assert other.latest == record
    assert other.states(record, 0, 0).total(ObjectState.CREATED) == 143
    await other.close()


def archive(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.size = len(content) if kind == tarfile.REGTYPE else 0
        member.linkname = "/etc/passwd"
        made.addfile(member, io.BytesIO(content))
    return zstandard.compress(buffer.getvalue())


def claims(name: str, size: int) -> bytes:
    """An archive whose header says that so many bytes follow."""
    member = tarfile.TarInfo(name)
    member.size = size
    return zstandard.compress(member.tobuf() + bytes(1024))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        zstandard.compress(b"rubbish"),
        archive("../../evil"),
        archive("/etc/passwd"),
        archive(MEMBER, kind=tarfile.SYMTYPE),
        archive(MEMBER, kind=tarfile.DIRTYPE),
        archive(MEMBER, kind=tarfile.GNUTYPE_SPARSE),
        claims(MEMBER, MAX_BYTES + 1),
        archive(MEMBER)[:-10],
    ],
)
def test_anything_else_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        unpack(data, tmp_path / "in")
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_no_bytes_do_anything_but_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(StorageError):
        unpack(data, tmp_path_factory.getbasetemp() / "nowhere")


class StuckControls(Controls):
    """Storage that takes no checkpoint, or refuses it."""

    def __init__(self, error: StorageError | None) -> None:
        super().__init__((), {})
        self._error = error

    async def of(self, number: int) -> Control:
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("error", "said"), [(None, "longer than 0.2 s"), (StorageError("the disk is full"), "the disk is full")]
)
async def test_a_slow_or_failing_checkpoint_is_a_warning(tmp_path: Path, error: StorageError | None, said: str) -> None:
    spec = pb.RunSpec(
        run_id="r",
        config_yaml=b"target: s3://10.0.0.1/bucket/\nprepare: {ensure_objects: [{base_uri: d/, "
        b"count: 100, size_spec: 10}]}\nworkload: [{op: get, path: d/*, weight: 1}]\n",
    )
    setup = make_setup(spec, AgentLimits(tmp_path), {})
    cache = LayoutCache.open(setup.cache_dir, 100)
    record = Generation(1, 1, 1, {0: 100}, (Holding(0, 0, 0, 100, 1),))
    cache.save(record)
    await cache.flush()
    notes: list[tuple[Level, str]] = []
    checkpoints = Checkpoints(setup, cache, StuckControls(error), lambda level, text, code: notes.append((level, text)))
    async with asyncio.timeout(60):
        await checkpoints.write_within(record, 0.2)
    ((level, text),) = notes
    assert level is Level.WARNING
    assert said in text
    await cache.close()


@pytest.mark.parametrize("seconds", [0, 60])
async def test_what_an_earlier_run_left_is_removed(tmp_path: Path, seconds: int) -> None:
    target = tmp_path / "target"
    config = (
        f"target: file://{target}/\ncache_checkpoint_interval_secs: {seconds}\nprepare: {{ensure_objects: "
        "[{base_uri: d/, count: 100, size_spec: 10}]}\nworkload: [{op: get, path: d/*, weight: 1}]\n"
    )
    spec = pb.RunSpec(run_id="r", config_yaml=config.encode())
    setup = make_setup(spec, AgentLimits(tmp_path / "data", (target,)), {})
    cache = LayoutCache.open(setup.cache_dir, 100)
    notes: list[str] = []
    async with Controls(setup.endpoints, {}, setup.config.s3) as controls:
        checkpoints = Checkpoints(setup, cache, controls, lambda level, text, code: notes.append(text))
        left = target / checkpoints.key(1)
        left.parent.mkdir(parents=True)
        left.write_bytes(b"of before")
        await checkpoints.remove()
    assert not left.exists()
    assert notes == []
    await cache.close()


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[LayoutCache]:
    cache = LayoutCache.open(tmp_path / "data" / "layout", 1000)
    cache.save(Generation(1, 1, 1, {0: 1000}))
    await cache.flush()
    yield cache
    await cache.close()


async def test_what_nobody_waits_for_any_more_ends(tmp_path: Path, cache: LayoutCache) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(stopped: Callable[[], bool]) -> None:
        begun.set()
        while not stopped():
            ended.wait(0.01)
        ended.set()

    waiting = asyncio.ensure_future(stoppable(work))
    await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
    with pytest.raises(StoppedError):
        pack(cache, lambda: True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["layout"]


def test_a_file_that_nobody_waits_for_any_more_is_not_put_in_place(tmp_path: Path) -> None:
    path, asked = tmp_path / "key", itertools.count()
    path.write_bytes(b"before")
    with pytest.raises(StoppedError):
        write_file(str(path), bytes(3 * PIECE_BYTES), lambda: next(asked) == 2)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("key", b"before")]
    write_file(str(path), b"now", lambda: False)
    assert path.read_bytes() == b"now"


async def test_a_cache_is_not_closed_below_a_copy(tmp_path: Path, cache: LayoutCache) -> None:
    copying, go_on = threading.Event(), threading.Event()

    def stopped() -> bool:
        copying.set()
        go_on.wait(30)
        return False

    packing = asyncio.ensure_future(asyncio.to_thread(pack, cache, stopped))
    await asyncio.to_thread(copying.wait, 30)
    closing = asyncio.ensure_future(cache.close())
    # Nothing else is left to wait for.
    assert await wait_until_async(lambda: not any(each.name == WRITER for each in threading.enumerate()), 30)
    assert not closing.done()
    go_on.set()
    data = await packing
    await closing
    (tmp_path / "again").mkdir()
    unpack(data, tmp_path / "again")


async def test_a_copy_that_hangs_keeps_nobody_from_closing(
    tmp_path: Path, cache: LayoutCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(store, "COPY_GRACE_S", 0.05)

    def stopped() -> bool:
        copying.set()
        go_on.wait(60)
        return True

    packing = asyncio.ensure_future(asyncio.to_thread(pack, cache, stopped))
    await asyncio.to_thread(copying.wait, 30)
    (record,) = cache.generations.values()
    cache.states(record, 0, 0).set(np.arange(10), ObjectState.CREATED)
    async with asyncio.timeout(30):
        left = await cache.close()
    assert str(tmp_path / "data" / "layout") in left
    go_on.set()
    with pytest.raises(StoppedError):
        await packing
    # Once the copy has ended, all that was recorded is there for the next run.
    assert await wait_until_async(lambda: not any(each.name == CLOSER for each in threading.enumerate()), 30)
    again = LayoutCache.open(tmp_path / "data" / "layout", 1000)
    assert again.states(record, 0, 0).total(ObjectState.CREATED) == 10
    assert await again.close() == ""


HOLDS = """
import sys, lmdb
with lmdb.open(sys.argv[1]) as environment, environment.begin(write=True):
    print("holds it", flush=True)
    sys.stdin.read()
"""


async def test_a_disk_that_does_not_answer_is_told_when_the_cache_is_closed(
    tmp_path: Path, cache: LayoutCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CLOSE_S", 0.05)
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "data" / "layout")]
    other = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"holds it\n"
    cache.save(Generation(2, 1, 1, {0: 1000}))
    async with asyncio.timeout(30):
        with pytest.raises(ResourceError, match="does not answer") as raised:
            await cache.close()
        assert raised.value.hint
        await other.communicate(b"")
    # Once it answers, all is written after all, and the directory is free.
    assert await wait_until_async(lambda: not any(each.name == CLOSER for each in threading.enumerate()), 30)
    again = LayoutCache.open(tmp_path / "data" / "layout", 1000)
    assert set(again.generations) == {1, 2}
    await again.close()
