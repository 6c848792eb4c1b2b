"""YAML 1.2 core into a small tree whose nodes know where they stand.

Built from the parser's events, not by recursion, so depth, aliases and size are bounded before anything is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import yaml
from yaml import events

from sai3tui.config.model import Position
from sai3tui.errors import ConfigError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 50
MAX_NODES = 200_000

Scalar = str | int | float | bool | None

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]{1,24}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,24}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class YamlError(ConfigError):
    """The text is no YAML that we take; `at` says where."""

    def __init__(self, message: str, at: Position, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.at = at


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """`value` by the YAML 1.2 core schema, `text` as written."""

    value: Scalar
    text: str
    at: Position


@dataclass(frozen=True, slots=True)
class SequenceNode:
    items: tuple[Node, ...]
    at: Position


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    key_at: Position
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    entries: tuple[Entry, ...]
    at: Position


Node = ScalarNode | SequenceNode | MappingNode


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen yet."""

    mapping: bool
    at: Position
    anchor: str | None
    items: list[Node]
    weight: int = 1


def parse_yaml(source: str | bytes) -> Node:
    """The one document in `source`. Raises YamlError."""
    text = _decoded(source)
    try:
        return _build(_events(text))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text) from error


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar in the YAML 1.2 core schema; leading zeros and separators make a string."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if len(text) <= 60 and _FLOAT.fullmatch(text) and any(c.isdigit() for c in text):
        return float(text)
    return text


def _decoded(source: str | bytes) -> str:
    start = Position(1, 1)
    if len(source) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES // 2**20} MiB", start, "this is no configuration file")
    if isinstance(source, bytes):
        source = _from_utf8(source)
    else:
        source = source.removeprefix("\ufeff")
        try:
            source.encode()
        except UnicodeEncodeError as error:
            raise YamlError("the text has a lone surrogate in it", start, "save it as UTF-8") from error
    if not source.strip():
        raise YamlError("the file is empty", start, "start from one of the files in examples/")
    return source


def _from_utf8(source: bytes) -> str:
    if b"\0" in source:
        raise YamlError("the file is binary", Position(1, 1), "a configuration file is YAML text in UTF-8")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        column = error.start - (source.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"the file is not UTF-8: byte 0x{source[error.start]:02x}"
        raise YamlError(message, Position(line, column), "save it as UTF-8") from error


def _events(text: str) -> Iterator[events.Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


def _build(stream: Iterator[events.Event]) -> Node:
    open_nodes: list[_Open] = []
    anchors: dict[str, tuple[Node, int]] = {}
    pending: set[str] = set()
    root: Node | None = None
    total = 0

    def close(node: Node, weight: int, anchor: str | None) -> None:
        nonlocal root
        if anchor is not None:
            anchors[anchor] = (node, weight)
            pending.discard(anchor)
        if open_nodes:
            open_nodes[-1].items.append(node)
            open_nodes[-1].weight += weight
        else:
            root = node

    at = Position(1, 1)
    for event in stream:
        match event:
            # The most frequent ones first: each case is a test.
            case events.ScalarEvent():
                at = _position(event.start_mark)
                _refuse_tag(event, at)
                plain = event.implicit[0]
                value = resolve_plain(event.value) if plain else event.value
                total += 1
                close(ScalarNode(value, event.value, at), 1, event.anchor)
            case events.SequenceStartEvent() | events.MappingStartEvent():
                at = _position(event.start_mark)
                _refuse_tag(event, at)
                if len(open_nodes) >= MAX_DEPTH:
                    raise YamlError(f"nested more than {MAX_DEPTH} deep", at)
                if event.anchor is not None:
                    pending.add(event.anchor)
                total += 1
                open_nodes.append(_Open(isinstance(event, events.MappingStartEvent), at, event.anchor, []))
            case events.SequenceEndEvent() | events.MappingEndEvent():
                done = open_nodes.pop()
                items = tuple(done.items)
                node = _mapping(items, done.at) if done.mapping else SequenceNode(items, done.at)
                close(node, done.weight, done.anchor)
            case events.DocumentStartEvent():
                if root is not None:
                    at = _position(event.start_mark)
                    raise YamlError("there is a second document", at, "remove the line '---' and what follows")
                continue
            case events.StreamStartEvent() | events.StreamEndEvent() | events.DocumentEndEvent():
                continue
            case events.AliasEvent():
                at = _position(event.start_mark)
                if event.anchor in pending:
                    raise YamlError(f"*{event.anchor} stands inside what it names", at, "an alias cannot be recursive")
                if event.anchor not in anchors:
                    raise YamlError(f"*{event.anchor} names no anchor", at, f"write &{event.anchor} before it")
                named, weight = anchors[event.anchor]
                total += weight
                close(named, weight, None)
        if total > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES:,} values once its aliases are expanded", at)
    if root is None:
        raise YamlError("the file is empty", Position(1, 1), "start from one of the files in examples/")
    return root


def _mapping(items: tuple[Node, ...], at: Position) -> MappingNode:
    entries: dict[str, Entry] = {}
    merged: list[MappingNode] = []
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, ScalarNode):
            raise YamlError("a key must be a word, not a list or mapping", key.at)
        if key.text == "<<" and key.value == "<<":
            merged += _merge_sources(value)
        elif key.text in entries:
            first = entries[key.text].key_at
            raise YamlError(f"duplicate key {key.text[:60]!r}", key.at, f"it stands in line {first.line} already")
        else:
            entries[key.text] = Entry(key.text, key.at, value)
    for source in merged:
        for entry in source.entries:
            entries.setdefault(entry.key, entry)
    return MappingNode(tuple(entries.values()), at)


def _merge_sources(node: Node) -> list[MappingNode]:
    if isinstance(node, MappingNode):
        return [node]
    if isinstance(node, SequenceNode) and all(isinstance(item, MappingNode) for item in node.items):
        return [item for item in node.items if isinstance(item, MappingNode)]
    raise YamlError("<< needs a mapping, or a list of mappings", node.at)


def _refuse_tag(event: events.ScalarEvent | events.CollectionStartEvent, at: Position) -> None:
    if event.tag is not None and event.tag != "!":
        raise YamlError(f"the tag {event.tag[:60]!r} is not taken", at, "remove it")


class _Mark(Protocol):
    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


def _position(mark: _Mark | None) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)


def _syntax_error(error: yaml.YAMLError, text: str) -> YamlError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.problem, error.context) if part]
        message = ", ".join(parts) or "this is not YAML"
        at = _position(mark)
        lines = text.splitlines() or [""]
        if at.line > len(lines):
            at = Position(len(lines), len(lines[-1]) + 1)
        tab = lines[at.line - 1][at.column - 1 : at.column] == "\t"
        return YamlError(message, at, "indent with blanks, not with tabs" if tab else "")
    if isinstance(error, yaml.reader.ReaderError):
        return YamlError(f"{error.reason} (character {error.position})", Position(1, 1), "the file may be binary")
    return YamlError(str(error) or "this is not YAML", Position(1, 1))
