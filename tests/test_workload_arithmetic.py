from __future__ import annotations

import math
from collections import Counter
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.model import DirectoryStructure, Distribution, SizeKind, SizeSpec, fixed_size
from sai3tui.workload import exact, rng
from sai3tui.workload.names import new_name, pool_name
from sai3tui.workload.partition import endpoint_count, endpoint_of, index_of, k_of, place_of, slot_count
from sai3tui.workload.sizes import Sizes, SizesAhead
from sai3tui.workload.tree import Tree

SEED = DirectoryStructure(8, 3, 125, Distribution.BOTTOM, "d%d_w%d.dir")


def tree(width: int, depth: int, files: int, spread: str = "bottom", mask: str = "d%d_w%d.dir") -> Tree:
    return Tree(DirectoryStructure(width, depth, files, Distribution(spread), mask))


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (0, "d1_w1.dir"),
        (1, "d1_w2.dir"),
        (2, "d1_w3.dir"),
        (7, "d1_w8.dir"),
        (8, "d1_w1.dir/d2_w1.dir"),
        (9, "d1_w1.dir/d2_w2.dir"),
        (71, "d1_w8.dir/d2_w8.dir"),
        (72, "d1_w1.dir/d2_w1.dir/d3_w1.dir"),
        (583, "d1_w8.dir/d2_w8.dir/d3_w8.dir"),
    ],
)
def test_directories_of_the_seed(number: int, path: str) -> None:
    assert Tree(SEED).directory(number) == path


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "d1_w1.dir/d2_w1.dir/d3_w1.dir/file_00000000.dat"),
        (124, "d1_w1.dir/d2_w1.dir/d3_w1.dir/file_00000124.dat"),
        (125, "d1_w1.dir/d2_w1.dir/d3_w2.dir/file_00000125.dat"),
        (999, "d1_w1.dir/d2_w1.dir/d3_w8.dir/file_00000999.dat"),
        (1000, "d1_w1.dir/d2_w2.dir/d3_w1.dir/file_00001000.dat"),
        (7999, "d1_w1.dir/d2_w8.dir/d3_w8.dir/file_00007999.dat"),
        (8000, "d1_w2.dir/d2_w1.dir/d3_w1.dir/file_00008000.dat"),
        (63875, "d1_w8.dir/d2_w8.dir/d3_w8.dir/file_00063875.dat"),
        (63999, "d1_w8.dir/d2_w8.dir/d3_w8.dir/file_00063999.dat"),
    ],
)
def test_files_of_the_seed(index: int, path: str) -> None:
    assert Tree(SEED).file_path(index) == path


def test_small_trees() -> None:
    bottom = tree(2, 2, 3)
    assert (bottom.directories, bottom.files) == (6, 12)
    assert [bottom.file_path(i) for i in (0, 3, 6, 11)] == [
        "d1_w1.dir/d2_w1.dir/file_00000000.dat",
        "d1_w1.dir/d2_w2.dir/file_00000003.dat",
        "d1_w2.dir/d2_w1.dir/file_00000006.dat",
        "d1_w2.dir/d2_w2.dir/file_00000011.dat",
    ]
    spread = tree(2, 2, 2, "all")
    assert (spread.directories, spread.files) == (6, 12)
    assert [spread.file_path(i) for i in (0, 2, 4, 11)] == [
        "d1_w1.dir/file_00000000.dat",
        "d1_w2.dir/file_00000002.dat",
        "d1_w1.dir/d2_w1.dir/file_00000004.dat",
        "d1_w2.dir/d2_w2.dir/file_00000011.dat",
    ]
    scan = tree(3, 2, 10, mask="scan.d%d_w%d.dir")
    assert (scan.directories, scan.files) == (12, 90)
    assert scan.file_path(89) == "scan.d1_w3.dir/scan.d2_w3.dir/file_00000089.dat"


@pytest.mark.parametrize(
    ("width", "depth", "files_per_dir", "directories", "files"),
    [
        (8, 3, 125, 584, 64_000),
        (4, 3, 0, 84, 0),
        (10, 3, 100, 1_110, 100_000),
        (24, 2, 193, 600, 111_168),
        (24, 3, 193, 14_424, 2_668_032),
        (24, 4, 193, 346_200, 64_032_768),
        (28, 2, 64, 812, 50_176),
        (64, 2, 150, 4_160, 614_400),
        (1, 5, 2, 5, 2),
    ],
)
def test_tree_counts(width: int, depth: int, files_per_dir: int, directories: int, files: int) -> None:
    made = tree(width, depth, files_per_dir)
    assert (made.directories, made.files) == (directories, files)


def test_large_indices_get_more_digits_and_missing_ones_raise() -> None:
    assert tree(1000, 3, 1).file_path(999_999_999).endswith("/file_999999999.dat")
    for index in (-1, 64_000):
        with pytest.raises(IndexError):
            Tree(SEED).file_path(index)
    with pytest.raises(IndexError):
        Tree(SEED).directory(584)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from(["bottom", "all"]))
def test_tree_against_enumeration(width: int, depth: int, files: int, spread: str) -> None:
    level = [""]
    directories: list[str] = []
    for number in range(1, depth + 1):
        level = [f"{above}d{number}_w{w}.dir/" for above in level for w in range(1, width + 1)]
        directories += level
    holders = level if spread == "bottom" else directories
    made = tree(width, depth, files, spread)
    assert [made.directory(k) + "/" for k in range(made.directories)] == directories
    paths = [f"{holders[i // files]}file_{i:08d}.dat" for i in range(len(holders) * files)]
    assert [made.file_path(i) for i in range(made.files)] == paths


def test_flat_names_and_shards() -> None:
    assert pool_name("prepared", 0) == "prepared-00000000.dat"
    assert pool_name("prepared", 0, 256) == "00/prepared-00000000.dat"
    assert pool_name("prepared", 161, 256) == "a1/prepared-00000161.dat"
    assert pool_name("prepared", 256, 256) == "00/prepared-00000256.dat"
    assert pool_name("deletable", 300, 1000) == "12c/deletable-00000300.dat"
    names = {new_name(rng.combine(1, stage, slot), n) for stage in range(3) for slot in range(3) for n in range(100)}
    assert len(names) == 900
    assert all(name.startswith("obj_") and name[4:].isdigit() for name in names)
    state = rng.combine(1, 2, 3)
    number = int(new_name(state, 4)[4:])
    assert new_name(state, 4, 16) == f"{number % 16:02x}/obj_{number}"


def test_splitmix64_is_the_published_one() -> None:
    # the first outputs of the reference implementation from the state 0
    state, outputs = 0, []
    for _ in range(3):
        outputs.append(rng.splitmix64(state))
        state = (state + rng.GAMMA) & rng.MASK
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.integers(1, 2**63))
def test_arrays_agree_with_scalars(words: list[int], bound: int) -> None:
    array = np.array(words, dtype=np.uint64)
    assert rng.splitmix64_array(array).tolist() == [rng.splitmix64(w) for w in words]
    assert rng.extend_array(rng.combine(5), array).tolist() == [rng.combine(5, w) for w in words]
    assert rng.uniform_array(array).tolist() == [rng.uniform(w) for w in words]
    assert rng.below_array(array, bound).tolist() == [rng.below(w, bound) for w in words]
    assert all(0 <= rng.below(w, bound) < bound and 0.0 < rng.uniform(w) < 1.0 for w in words)


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=10))
def test_log_and_exp(values: list[float]) -> None:
    logs = [exact.log(v) for v in values]
    assert exact.log_array(np.array(values)).tolist() == logs
    for value, ours in zip(values, logs, strict=True):
        assert ours == pytest.approx(math.log(value), rel=1e-14, abs=1e-14)
        assert exact.exp(ours) == pytest.approx(value, rel=1e-12)
    assert exact.exp_array(np.array(logs)).tolist() == [exact.exp(x) for x in logs]


@given(st.lists(st.floats(1e-15, 1 - 1e-15), min_size=1, max_size=10))
def test_normal_quantile(shares: list[float]) -> None:
    ours = [exact.normal_quantile(p) for p in shares]
    assert exact.normal_quantile_array(np.array(shares)).tolist() == ours
    for share, z in zip(shares, ours, strict=True):
        assert 0.5 * math.erfc(-z / math.sqrt(2)) == pytest.approx(share, rel=1e-7)


SPECS = st.one_of(
    st.integers(1, 2**40).map(fixed_size),
    st.tuples(st.integers(1, 2**40), st.integers(0, 2**40)).map(
        lambda t: SizeSpec(SizeKind.UNIFORM, t[0], t[0] + t[1])
    ),
    st.builds(
        lambda mean, deviation, low, span: SizeSpec(
            SizeKind.LOGNORMAL, low, low + span if span else 0, mean, max(1, int(mean * deviation))
        ),
        st.integers(1, 2**40),
        st.floats(0.01, 3.0),
        st.integers(1, 2**20),
        st.integers(0, 2**41),
    ),
)


@settings(max_examples=60, deadline=None)
@given(SPECS, st.integers(0, 2**64 - 1), st.integers(0, 2**50))
def test_sizes_stay_within_bounds_and_arrays_agree(spec: SizeSpec, seed: int, start: int) -> None:
    sizes = Sizes(spec, seed)
    indices = np.arange(start, start + 20, dtype=np.uint64)
    drawn = sizes.sizes(indices).tolist()
    assert drawn == [sizes.size(int(i)) for i in indices]
    ahead = SizesAhead(sizes)
    ahead.expect(np.arange(start, start + 30))
    assert drawn == [ahead.size(int(i)) for i in indices]
    assert all(spec.minimum <= size <= (spec.maximum or 2**62) for size in drawn)
    assert spec.minimum <= sizes.mean <= (spec.maximum or 2**62)


@pytest.mark.parametrize(
    "spec",
    [
        SizeSpec(SizeKind.LOGNORMAL, 2**20, 16 * 2**20, 8 * 2**20, 2**20),
        SizeSpec(SizeKind.LOGNORMAL, 2**20, 32 * 2**20, 7235174, 5788139),
        SizeSpec(SizeKind.LOGNORMAL, 1, 0, 65536, 32768),
        SizeSpec(SizeKind.LOGNORMAL, 60000, 70000, 65536, 32768),
        SizeSpec(SizeKind.LOGNORMAL, 1, 5, 3, 2),
        SizeSpec(SizeKind.LOGNORMAL, 90, 100, 20, 10),
        SizeSpec(SizeKind.UNIFORM, 4096, 131072),
        fixed_size(77),
    ],
    ids=str,
)
def test_the_expected_mean_is_the_mean_of_many(spec: SizeSpec) -> None:
    sizes = Sizes(spec, 42)
    drawn = sizes.sizes(np.arange(100_000, dtype=np.uint64))
    error = 5 * drawn.std() / math.sqrt(len(drawn)) + 0.02 * (spec.maximum <= 5 and spec.maximum > 0)
    assert abs(drawn.mean() - sizes.mean) <= max(error, 1e-9)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(
        [
            SizeSpec(SizeKind.UNIFORM, 1, 10**9),
            SizeSpec(SizeKind.LOGNORMAL, 1, 100_000, 1024, 900),
            SizeSpec(SizeKind.WEIGHTED, 1, 1000, weighted=((1, 3), (70, 2), (1000, 1))),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(1, 600)), min_size=1, max_size=40),
)
def test_sizes_do_not_depend_on_what_was_asked_before(spec: SizeSpec, runs: list[tuple[int, int]]) -> None:
    sizes = Sizes(spec, 7)
    for first, count in runs:
        asked = range(first, first + count)
        expected = Sizes(spec, 7).sizes(np.array(asked, dtype=np.uint64)).tolist()
        assert [sizes.size(index) for index in asked] == expected


def test_another_seed_gives_other_sizes() -> None:
    spec = SizeSpec(SizeKind.UNIFORM, 1, 2**40)
    indices = np.arange(1000, dtype=np.uint64)
    assert not np.array_equal(Sizes(spec, 1).sizes(indices), Sizes(spec, 2).sizes(indices))


@given(st.integers(0, 500), st.integers(1, 12))
def test_every_index_belongs_to_one_slot(count: int, slots: int) -> None:
    owned = [index_of(s, slots, k) for s in range(slots) for k in range(slot_count(count, slots, s))]
    assert sorted(owned) == list(range(count))
    for index in range(count):
        slot, k = place_of(index, slots)
        assert index_of(slot, slots, k) == index


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 30))
def test_endpoints_are_even_whatever_agents_and_endpoints_have_in_common(
    slots: int, endpoints: int, rounds: int
) -> None:
    count = slots * endpoints * rounds
    for slot in range(slots):
        used = Counter(endpoint_of(k, endpoints) for k in range(slot_count(count, slots, slot)))
        assert [used[e] for e in range(endpoints)] == [rounds] * endpoints, gcd(slots, endpoints)


@given(st.integers(0, 300), st.integers(1, 7), st.integers(1, 7))
def test_counts_per_endpoint_add_up(count: int, slots: int, endpoints: int) -> None:
    for slot in range(slots):
        mine = range(slot_count(count, slots, slot))
        for endpoint in range(endpoints):
            expected = [k for k in mine if endpoint_of(k, endpoints) == endpoint]
            number = endpoint_count(count, slots, slot, endpoints, endpoint)
            assert [k_of(endpoint, n, endpoints) for n in range(number)] == expected


def test_a_slot_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no slot 3 of 3"):
        slot_count(10, 3, 3)
