"""The engine for files: its bounds, its errors, and what happens when a thread is busy."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.errors import ConfigError, ErrorContext, ErrorKind
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.failures import file_failure
from sai3tui.storage.fileops import list_page, path_below
from tests.engine_harness import Harness, noise, put, run_on
from tests.waiting import wait_until_async

ROOT_USER = os.geteuid() == 0


def place(directory: Path) -> Endpoint:
    return Endpoint(f"file://{directory}/", "file", prefix=f"{directory}/")


@given(st.text(max_size=30))
def test_a_key_stays_below_its_root(key: str) -> None:
    try:
        path = path_below("/root/dir/", key)
    except ConfigError:
        return
    assert (os.path.normpath(path) + "/").startswith("/root/dir/")


@pytest.mark.parametrize("key", ["..", "../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/./b", "a\0b", "a/.."])
def test_keys_that_lead_out(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        path_below("/root/", key)

    async def work() -> None:
        async with await Harness.open([place(tmp_path / "in")], {}) as harness:
            for op in Op:
                outcome = await harness(Request(op=op, key=key))
                assert outcome.kind is ErrorKind.CONFIG
                assert outcome.failure is not None
                assert outcome.failure.context.endpoint == f"file://{tmp_path}/in/"

    run_on("uvloop", work())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["a/b..c/.d/..e", "x/y", "..."])
def test_keys_that_only_look_dangerous(key: str) -> None:
    assert path_below("/root/", key) == "/root/" + key


def test_a_link_at_the_place_of_an_object_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep me")
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "k").symlink_to(outside)

    async def work() -> None:
        async with await Harness.open([place(inside)], {}) as harness:
            outcome = await harness(put("k", b"other"))
            assert outcome.kind is ErrorKind.PERMISSION
            assert (await harness(Request(op=Op.DELETE, key="k"))).ok

    run_on("uvloop", work())
    assert outside.read_bytes() == b"keep me"


def test_kinds_of_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"x")

    async def work() -> None:
        async with await Harness.open([place(tmp_path)], {}) as harness:
            cases = [
                (Request(op=Op.GET, key="none"), ErrorKind.NOT_FOUND, "enoent"),
                (Request(op=Op.GET, key="file/below"), ErrorKind.NOT_FOUND, "enotdir"),
                (Request(op=Op.GET, key="full"), ErrorKind.NOT_FOUND, "eisdir"),
                (Request(op=Op.LIST, key="none"), ErrorKind.NOT_FOUND, "enoent"),
                (Request(op=Op.RMDIR, key="full"), ErrorKind.STORAGE, "enotempty"),
                (Request(op=Op.RMDIR, key=""), ErrorKind.CONFIG, ""),
                (put("n" * 300, b"x"), ErrorKind.CONFIG, "enametoolong"),
            ]
            for request, kind, subclass in cases:
                outcome = await harness(request)
                assert (outcome.kind, outcome.subclass) == (kind, subclass), outcome.failure
            assert (await harness(Request(op=Op.RMDIR, key="full", recursive=True))).ok
            assert not (tmp_path / "full").exists()

    run_on("uvloop", work())


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ErrorKind.RESOURCE),
        (errno.EDQUOT, ErrorKind.RESOURCE),
        (errno.EMFILE, ErrorKind.RESOURCE),
        (errno.EACCES, ErrorKind.PERMISSION),
        (errno.EROFS, ErrorKind.PERMISSION),
        (errno.EIO, ErrorKind.STORAGE),
        (errno.ESTALE, ErrorKind.STORAGE),
        (errno.ENOENT, ErrorKind.NOT_FOUND),
    ],
)
def test_errno_by_kind(number: int, kind: ErrorKind) -> None:
    context = ErrorContext(uri="file:///d/k", endpoint="file:///d/", op="put")
    failure = file_failure(OSError(number, os.strerror(number), "/d/k"), context)
    assert failure.kind is kind
    assert failure.context.subclass == errno.errorcode[number].lower()
    assert os.strerror(number) in failure.sentence()
    assert failure.hint


def test_what_could_not_be_written_is_not_left_behind(tmp_path: Path) -> None:
    """A file size limit makes the second piece fail, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def work() -> None:
        async with await Harness.open([place(tmp_path)], {}) as harness:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
            try:
                outcome = await harness(put("k", noise(600_000)))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert (outcome.kind, outcome.subclass) == (ErrorKind.STORAGE, "efbig")
            assert outcome.moved == 0

    run_on("uvloop", work())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(ROOT_USER, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    async def work() -> None:
        async with await Harness.open([place(tmp_path)], {}) as harness:
            assert (await harness(put("k", b"x"))).kind is ErrorKind.PERMISSION

    run_on("uvloop", work())


def test_list_page(tmp_path: Path) -> None:
    for name in ("a/1", "a/b/2", "a/b/c/3", "4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    everything = {("a/1", 3), ("a/b/2", 5), ("a/b/c/3", 7), ("4", 1)}
    assert set(list_page(str(tmp_path), 1000, recursive=True)) == everything
    assert set(list_page(str(tmp_path), 1000, recursive=False)) == {("4", 1)}
    assert len(list_page(str(tmp_path), 2, recursive=True)) == 2


class GatedBody:
    """A body whose second piece waits for the test. Notes whether two threads were ever in it at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.data = memoryview(noise(size))

    def piece(self, offset: int, length: int) -> memoryview:
        if offset:
            self.entered.set()
            assert self.gate.wait(10)
        return self.data[offset : offset + length]


@pytest.fixture
def gated() -> Iterator[GatedBody]:
    body = GatedBody(600_000)
    yield body
    body.gate.set()


def test_a_cancelled_body_is_not_touched_by_the_next_operation(tmp_path: Path, gated: GatedBody) -> None:
    async def work() -> None:
        async with await Harness.open([place(tmp_path)], {}) as harness:
            first = harness.start(Request(op=Op.PUT, key="first", size=gated.size, body=gated))
            assert await wait_until_async(gated.entered.is_set)
            harness.engine.connections[0].cancel()
            assert first.result().subclass == "cancelled"
            second = harness.start(put("second", b"abc"))
            assert not second.done()
            gated.gate.set()
            assert await wait_until_async(second.done)
            assert second.result().ok
            assert (tmp_path / "second").read_bytes() == b"abc"
            assert len(harness.outcomes) == 2

    run_on("uvloop", work())


def test_an_operation_that_hangs_times_out(tmp_path: Path, gated: GatedBody) -> None:
    async def work() -> None:
        async with await Harness.open([place(tmp_path)], {}, op_timeout=0.2) as harness:
            outcome = await harness(Request(op=Op.PUT, key="k", size=gated.size, body=gated))
            assert (outcome.kind, outcome.subclass) == (ErrorKind.TIMEOUT, "op")
            behind = await harness(put("k2", b"abc"))
            assert behind.kind is ErrorKind.TIMEOUT, "its thread is not back yet"
            gated.gate.set()
            assert (await harness(put("k3", b"abc"))).ok

    run_on("uvloop", work())


def test_close_ends_the_threads(tmp_path: Path) -> None:
    async def work() -> None:
        before = threading.active_count()
        harness = await Harness.open([place(tmp_path)], {}, connections=[4])
        assert threading.active_count() == before + 4
        await harness.engine.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("file-io-")]

    run_on("uvloop", work())
