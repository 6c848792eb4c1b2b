"""Verification finds every changed byte, says where, and whose bytes they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.model import Content, Fill
from sai3tui.errors import ErrorKind
from sai3tui.workload.content import BLOCK_BYTES, CHUNK_BYTES, ContentMaker, Payload
from sai3tui.workload.verify import CorruptError, Verifier

MAKER = ContentMaker(Content(), 7)
VERSION_BYTES = range(13, 16)
"""Where the first stamp of an object holds its version."""


def object_bytes(index: int, size: int, *, generation: int = 1, version: int = 0, maker: ContentMaker = MAKER) -> bytes:
    payload = Payload()
    payload.become(maker, generation, index, version, size)
    return b"".join(bytes(payload.piece(at, min(CHUNK_BYTES, size - at))) for at in range(0, size, CHUNK_BYTES))


def check(
    data: bytes, size: int, cuts: list[int] | None = None, *, maker: ContentMaker = MAKER, index: int = 3
) -> None:
    verifier = Verifier()
    verifier.become(maker, 1, index, size)
    for _ in range(2):  # an operation that is sent again begins anew
        verifier.begin()
        at = 0
        for cut in [*(cuts or []), len(data)]:
            part = data[at : at + cut]
            if part:
                verifier.take(at, memoryview(part))
            at += len(part)
        verifier.end(len(data))


MAKERS = {
    "random": Content(),
    "compressible": Content(compress_factor=3),
    "duplicates": Content(dedup_factor=4),
    "zero": Content(fill=Fill.ZERO),
}


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=25, deadline=None)
@given(size=st.integers(0, 600_000), cuts=st.lists(st.integers(1, 300_000), max_size=5))
def test_what_was_written_passes_however_it_comes(kind: str, size: int, cuts: list[int]) -> None:
    maker = ContentMaker(MAKERS[kind], 7)
    check(object_bytes(3, size, maker=maker), size, cuts, maker=maker)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), size=st.integers(1, 600_000), cut=st.integers(1, 600_000))
def test_every_changed_byte_is_found_at_its_place(data: st.DataObject, size: int, cut: int) -> None:
    good = bytearray(object_bytes(3, size))
    place = data.draw(st.integers(0, size - 1).filter(lambda at: at not in VERSION_BYTES))
    good[place] ^= 0x5A
    with pytest.raises(CorruptError, match=rf"object 3 is corrupt at offset {place}:") as raised:
        check(bytes(good), size, [cut])
    assert raised.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("place", VERSION_BYTES)
def test_a_changed_version_is_found_where_the_content_belies_it(place: int) -> None:
    # A reader takes any version for right, so it is what follows the stamp that gives the change away.
    good = bytearray(object_bytes(3, 64))
    good[place] ^= 0x5A
    with pytest.raises(CorruptError, match="object 3 is corrupt at offset 16:"):
        check(bytes(good), 64)


@pytest.mark.parametrize("cuts", [[], [8], [4096 + 5], [300_000]])
def test_another_objects_bytes_are_named(cuts: list[int]) -> None:
    with pytest.raises(CorruptError) as raised:
        check(object_bytes(11, 400_000), 400_000, cuts)
    if cuts == [8]:
        assert "do not say" in raised.value.hint  # the stamp had not come whole when it was clear
    else:
        assert "those of object 11 (generation 1), version 0, at its offset 0" in raised.value.hint
    with pytest.raises(CorruptError, match="offset 6:") as raised:
        check(object_bytes(3, 400_000, generation=2), 400_000, cuts if cuts != [8] else [])
    assert "object 3 (generation 2)" in raised.value.hint


def test_one_foreign_or_misplaced_or_missing_block_is_named() -> None:
    good = object_bytes(3, 600_000)
    at = 70 * BLOCK_BYTES
    foreign = good[:at] + object_bytes(9, 600_000)[at : at + BLOCK_BYTES] + good[at + BLOCK_BYTES :]
    with pytest.raises(CorruptError, match="corrupt at offset") as raised:
        check(foreign, 600_000)
    assert f"object 9 (generation 1), version 0, at its offset {at}" in raised.value.hint
    moved = good[:at] + good[4 * BLOCK_BYTES : 5 * BLOCK_BYTES] + good[at + BLOCK_BYTES :]
    with pytest.raises(CorruptError) as raised:
        check(moved, 600_000)
    assert f"this object, version 0, at its offset {4 * BLOCK_BYTES}" in raised.value.hint
    with pytest.raises(CorruptError) as raised:
        check(good[:at] + bytes(BLOCK_BYTES) + good[at + BLOCK_BYTES :], 600_000)
    assert "zeros were found" in raised.value.hint


def test_any_one_version_is_right_and_a_mixture_is_not() -> None:
    old, new = object_bytes(3, 600_000), object_bytes(3, 600_000, version=4)
    check(new, 600_000, [1000])
    with pytest.raises(CorruptError) as raised:
        check(new[:CHUNK_BYTES] + old[CHUNK_BYTES:], 600_000)
    assert "this object, version 0" in raised.value.hint


def test_length_is_part_of_it() -> None:
    good = object_bytes(3, 1000)
    with pytest.raises(CorruptError, match="1000 were written"):
        check(good[:-1], 1000)
    with pytest.raises(CorruptError, match="longer"):
        check(good + b"x", 1000)
