from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.coverage import finds_any
from sai3tui.config.model import Content, DirectoryStructure, Distribution, fixed_size
from sai3tui.config.patterns import HEX, NUMBER, compile_pattern, list_prefix, matches_all, may_match
from sai3tui.config.resolved import ResolvedSet, SetKind
from sai3tui.workload.objects import ObjectSet

TEMPLATE = f"data/d1_w{NUMBER}.dir/d2_w{NUMBER}.dir/file_{NUMBER}.dat"


@pytest.mark.parametrize(
    ("pattern", "every", "some"),
    [
        ("data/d*_w*.dir/**/*", True, True),
        ("data/*", True, True),
        ("**/file_*", True, True),
        ("*", True, True),
        ("d1*_w*.dir/**/*", False, False),
        ("data/d1_w3.dir/*", False, True),
        ("data/prepared-*.dat", False, False),
        ("data/d1_w1.dir/d2_w2.dir/file_00000001.dat", False, True),
        ("data/", False, False),
        ("data/d1_w1.dir/d2_w1.dir/", False, True),
        ("data/**/d1_w*.dir/**", True, True),
        ("data/d3*", False, False),
    ],
)
def test_what_can_be_said_of_a_template(pattern: str, every: bool, some: bool) -> None:
    assert matches_all(pattern, TEMPLATE) is every
    assert may_match(pattern, TEMPLATE) is some


def test_shards_are_hexadecimal() -> None:
    assert may_match("a1/prepared-*", f"{HEX}/prepared-{NUMBER}.dat")
    assert not may_match("g1/prepared-*", f"{HEX}/prepared-{NUMBER}.dat")
    assert not may_match("*/prepared-a*", f"{HEX}/prepared-{NUMBER}.dat")


def test_stars_cross_slashes_and_double_stars_may_be_nothing() -> None:
    assert compile_pattern("a/*").fullmatch("a/b/c")
    assert compile_pattern("a/**/c").fullmatch("a/c")
    assert compile_pattern("a/**/c").fullmatch("a/b/b/c")
    assert compile_pattern("**/x*").fullmatch("x1")
    assert not compile_pattern("a/b").fullmatch("a/bc")
    assert compile_pattern("a/").fullmatch("a/b")
    assert not compile_pattern("a/").fullmatch("a/b/c")
    assert compile_pattern("a.[b]*").fullmatch("a.[b]c")
    assert list_prefix("data/d*_w*/x") == "data/"
    assert list_prefix("a*") == ""


PIECES = st.sampled_from(["data/", "d1_w1.dir", "d1_w", "*", "**/", "/", "file_", "0", "1", "2", ".dat", "d2_w2.dir/"])
SHAPES = st.builds(
    DirectoryStructure,
    width=st.integers(1, 3),
    depth=st.integers(1, 3),
    files_per_dir=st.integers(1, 3),
    distribution=st.sampled_from(Distribution),
    dir_mask=st.just("d%d_w%d.dir"),
)


@settings(max_examples=300)
@given(st.lists(PIECES, min_size=1, max_size=7).map("".join), SHAPES)
def test_coverage_agrees_with_looking_at_every_key(pattern: str, shape: DirectoryStructure) -> None:
    made = ResolvedSet(0, SetKind.TREE, "data/", shape.files, fixed_size(1), Content(), 0, shape)
    objects = ObjectSet(made, 1)
    regex = compile_pattern(pattern)
    found = [regex.fullmatch(objects.key(i)) is not None for i in range(made.count)]
    assert finds_any(pattern, made) == any(found)
    if any(matches_all(pattern, template) for template in made.templates()):
        assert any(found)
    if all(matches_all(pattern, template) for template in made.templates()):
        assert all(found)


def test_directories_and_files_that_the_tree_does_not_have_are_not_found() -> None:
    shape = DirectoryStructure(8, 3, 125, Distribution.BOTTOM, "d%d_w%d.dir")
    made = ResolvedSet(0, SetKind.TREE, "data/", shape.files, fixed_size(1), Content(), 0, shape)
    assert finds_any("data/d1_w8.dir/*", made)
    assert not finds_any("data/d1_w9.dir/*", made)
    assert finds_any("**/file_00063999.dat", made)
    assert not finds_any("data/d1_w1.dir/**/file_00063999.dat", made)


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**/", "**"]), min_size=1, max_size=8).map("".join),
    st.text("ab/", max_size=8),
)
def test_globs_agree_with_the_plain_expression(glob: str, key: str) -> None:
    if "*" not in glob:
        return
    plain = re.sub(r"(?:(?<=/)|^)(\*\*+/)+", "<", glob)
    plain = re.sub(r"\*+", ">", plain)
    plain = plain.replace("<", "(?:.*/)?").replace(">", ".*")
    assert bool(compile_pattern(glob).fullmatch(key)) == bool(re.fullmatch(plain, key)), plain


def test_many_stars_are_no_trap() -> None:
    regex = compile_pattern("*a" * 40 + "*b" + "**/" * 20)
    assert not regex.fullmatch("a" * 2000)
    assert not may_match("*a" * 40 + "b", "a" * 200 + NUMBER)
