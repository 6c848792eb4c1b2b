from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.model import Content, Fill
from sai3tui.workload.content import CHUNK_BYTES, ContentMaker, Payload, Words, read_stamp

POOLS: dict[int, Words] = {}
RANDOM = ContentMaker(Content(), 7, POOLS)


def whole(maker: ContentMaker, index: int, size: int, *, generation: int = 1, version: int = 0) -> bytes:
    payload = Payload()
    payload.become(maker, generation, index, version, size)
    return b"".join(
        bytes(payload.piece(offset, min(CHUNK_BYTES, size - offset))) for offset in range(0, size, CHUNK_BYTES)
    )


def long_ratio(data: bytes) -> float:
    """How much `zstd -3 --long=27` shrinks it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    return len(data) / len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


@settings(deadline=None)
@given(st.integers(1, 700_000), st.lists(st.integers(1, 699_999), max_size=8), st.sampled_from([1, 2]))
def test_content_does_not_depend_on_where_pieces_begin(size: int, cuts: list[int], factor: int) -> None:
    maker = ContentMaker(Content(compress_factor=factor), 7, POOLS)
    payload = Payload()
    payload.become(maker, 3, 12345, 2, size)
    bounds = sorted({0, size, *range(0, size, CHUNK_BYTES), *(cut for cut in cuts if cut < size)})
    pieces = b"".join(bytes(payload.piece(begin, end - begin)) for begin, end in pairwise(bounds))
    assert pieces == whole(maker, 12345, size, generation=3, version=2)


def test_content_is_the_same_for_ever() -> None:
    # A cache or bucket that another version has filled must still verify.
    assert zlib.crc32(whole(RANDOM, 5, 100_000)) == 0x3CDADE69
    assert zlib.crc32(whole(ContentMaker(Content(compress_factor=3), 9, POOLS), 5, 300_001)) == 0x8C7A8905


@pytest.mark.parametrize(
    "other",
    [{"index": 2}, {"index": 1, "generation": 2}, {"index": 1, "version": 1}],
    ids=["index", "generation", "version"],
)
def test_other_objects_have_other_content(other: dict[str, int]) -> None:
    one = whole(RANDOM, 1, 8192)
    two = whole(RANDOM, other.pop("index"), 8192, **other)
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 200


def test_other_seeds_give_other_content() -> None:
    assert whole(RANDOM, 1, 64) != whole(ContentMaker(Content(), 8, POOLS), 1, 64)


def test_no_compressor_shrinks_random_content() -> None:
    objects = b"".join(whole(RANDOM, index, 2 * 1024 * 1024) for index in range(16))
    assert 0.99 < long_ratio(objects) < 1.005
    small = b"".join(whole(RANDOM, index, 1024) for index in range(4096))
    assert 0.99 < long_ratio(small) < 1.02


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_compress_factor_is_met(factor: int) -> None:
    maker = ContentMaker(Content(compress_factor=factor), 7, POOLS)
    data = b"".join(whole(maker, index, 1024 * 1024) for index in range(8))
    assert long_ratio(data) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize(("dedup", "compress"), [(2, 1), (4, 1), (3, 2)])
def test_dedup_and_compress_factors_are_independent(dedup: int, compress: int) -> None:
    maker = ContentMaker(Content(dedup_factor=dedup, compress_factor=compress), 7, POOLS)
    objects = [whole(maker, index, 256 * 1024) for index in range(12)]
    blocks = [data[at : at + 4096] for data in objects for at in range(0, len(data), 4096)]
    assert len(blocks) == dedup * len(set(blocks))
    assert long_ratio(objects[0]) == pytest.approx(compress, rel=0.05)


def test_zero_fill_is_zero() -> None:
    maker = ContentMaker(Content(fill=Fill.ZERO), 7, POOLS)
    assert whole(maker, 3, 300_000) == bytes(300_000)


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**16 - 1), st.integers(0, 1000))
def test_blocks_say_whose_they_are(index: int, generation: int, version: int) -> None:
    data = whole(RANDOM, index, 270_000, generation=generation, version=version)
    for block in (0, 1, 63, 64, 65):
        assert read_stamp(data[block * 4096 :]) == (generation, index, version, block)


@pytest.mark.parametrize("size", [1, 7, 8, 15, 16, 17, 4095, 4096, 4097, 4111, 4112, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_sizes_are_exact(size: int) -> None:
    assert len(whole(RANDOM, 3, size)) == size


def test_piece_of_a_large_object_outlives_the_following_ones() -> None:
    payload = Payload()
    payload.become(RANDOM, 1, 9, 0, 4 * CHUNK_BYTES)
    first = payload.piece(0, CHUNK_BYTES)
    before = bytes(first)
    for chunk in range(1, 4):
        payload.piece(chunk * CHUNK_BYTES, CHUNK_BYTES)
    assert bytes(first) == before
