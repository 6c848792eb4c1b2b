"""Checkpoint archives: what was packed comes back, and nothing else is taken for one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.checkpoint import MEMBER, pack, unpack
from sai3tui.errors import StorageError
from sai3tui.state.generations import Generation, Holding
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState


async def test_what_was_packed_comes_back(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path / "one" / "layout", 1000)
    record = Generation(1, 1, 1, {0: 1000}, (Holding(0, 0, 0, 1000, 1),))
    cache.save(record)
    cache.states(record, 0, 0).set(np.arange(0, 1000, 7), ObjectState.CREATED)
    await cache.flush()
    data = await pack(cache)
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
