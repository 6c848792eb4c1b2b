from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.model import Position
from sai3tui.config.yaml12 import (
    MAX_BYTES,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    YamlError,
    parse_yaml,
    resolve_plain,
)


def plain(node: Node) -> object:
    match node:
        case ScalarNode():
            return node.value
        case SequenceNode():
            return [plain(item) for item in node.items]
        case MappingNode():
            return {entry.key: plain(entry.value) for entry in node.entries}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("1,000", "1,000"),
        ("250 000", "250 000"),
        ("0123", "0123"),
        ("0", 0),
        ("-5", -5),
        ("+5", 5),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e6", 1e6),
        ("1.5", 1.5),
        (".5", 0.5),
        (".", "."),
        ("e5", "e5"),
        (".inf", math.inf),
        ("2026-02-18", "2026-02-18"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)


def test_quoted_scalars_are_texts() -> None:
    assert plain(parse_yaml("a: '1'\nb: \"true\"\nc: |\n  5\n")) == {"a": "1", "b": "true", "c": "5\n"}


def test_nodes_know_where_they_stand() -> None:
    root = parse_yaml("a: 1\nlist:\n  - x\n  - {y: z}\n")
    assert isinstance(root, MappingNode)
    entry = root.entries[1]
    assert entry.key_at == Position(2, 1)
    assert isinstance(entry.value, SequenceNode)
    inner = entry.value.items[1]
    assert isinstance(inner, MappingNode)
    assert inner.entries[0].value.at == Position(4, 9)


def test_aliases_and_merges() -> None:
    assert plain(parse_yaml("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\n")) == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 1, "q": 2},
        "c": {"q": 3, "p": 1},
    }


def laughs() -> str:
    lines = ["a0: &a0 [1, 2, 3]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 30)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("source", "words", "at"),
    [
        (b"", "empty", Position(1, 1)),
        (b"   \n\n", "empty", Position(1, 1)),
        (b"# only a comment\n", "empty", Position(1, 1)),
        (b"\x7fELF\0\0\0", "binary", Position(1, 1)),
        (b"a: 1\nb: \xff", "not UTF-8", Position(2, 4)),
        (b"a: 1\nb: 2\na: 3\n", "duplicate key 'a'", Position(3, 1)),
        (b"a: &x\n  b: *x\n", "inside what it names", Position(2, 6)),
        (b"a: *nobody\n", "names no anchor", Position(1, 4)),
        (b"a: !!python/object/apply:os.system [ls]\n", "tag", Position(1, 4)),
        (b"a: 1\n---\nb: 2\n", "second document", Position(2, 1)),
        (b"a:\n\t- b\n", "token", Position(2, 1)),
        (b"[a: 1", "", Position(1, 6)),
        (b"? [a]\n: b\n", "key", Position(1, 3)),
        (b"[" * 3000, "deep", Position(1, 51)),
        (laughs().encode(), "aliases", None),
        (b"a: 1 #" + b"x" * MAX_BYTES, "larger than 4 MiB", Position(1, 1)),
        ("a: \ud800", "surrogate", Position(1, 1)),
    ],
)
def test_bad_yaml_is_one_clear_error(source: bytes | str, words: str, at: Position | None) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(source)
    assert words in caught.value.message
    if at is not None:
        assert caught.value.at == at


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with suppress(YamlError):
        assert parse_yaml(text).at.line >= 1


@given(
    st.recursive(
        st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.text("abc ", max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=3), inner),
        max_leaves=10,
    )
)
def test_json_is_yaml(value: object) -> None:
    assert plain(parse_yaml(json.dumps(value))) == value
