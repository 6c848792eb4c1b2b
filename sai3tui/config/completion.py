"""What can be written at a place of a configuration file, from the tables of the language.

Works by indentation and not by parsing: the text is broken while somebody types.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sai3tui.config.language import LANGUAGE
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status

_KEY = re.compile(r"^(?P<indent>[ ]*)(?P<dashes>(?:- +)*)(?P<key>[A-Za-z_][\w-]*)[ ]*:(?P<rest>.*)$")
_LISTS = frozenset({Kind.BLOCKS, Kind.TEXTS, Kind.TEXTS_OR_BLOCKS})
_BLOCKS = frozenset({Kind.BLOCK, Kind.BLOCKS, Kind.WORD_OR_BLOCK, Kind.TEXTS_OR_BLOCKS, Kind.SIZES, Kind.MAP})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`label` is what it is called, `insert` what is written for it, `detail` its type and default, `text` what it
    means."""

    label: str
    insert: str
    detail: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """Suggestions for what begins at `start` of the line and reads `prefix` so far. `where` names the block or key."""

    start: int
    prefix: str
    where: str
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with a key: where that stands, the key, and what follows it. `item`: it begins an entry of a list."""

    column: int
    key: str
    rest: str
    item: bool
    dash: int


def complete(lines: Sequence[str], row: int, column: int) -> Completion:
    """What can stand at `column` of line `row` (both from 0)."""
    before = lines[row][:column] if row < len(lines) else ""
    flow = before.rfind("{")
    if flow > before.rfind("}"):
        return _in_flow(lines, row, before, flow)
    bare = re.match(r"^(?P<lead> *(?:- +)*)(?P<word>[\w-]*)$", before)
    if bare is not None:
        start = len(bare["lead"])
        path = _path(lines, row, start, begins_item="-" in bare["lead"])
        used = _siblings(lines, row, start, begins_item="-" in bare["lead"])
        return _keys(path, start, bare["word"], used)
    found = _parse(before)
    if found is not None:
        value = found.rest.lstrip()
        spec = _block(_path(lines, row, found.column, begins_item=found.item))
        return _values(spec, found.key, len(before) - len(value), value)
    return Completion(column, "", "", ())


def _in_flow(lines: Sequence[str], row: int, before: str, flow: int) -> Completion:
    """Within `{...}` on one line: the block is that of the key before it."""
    head = _parse(before[:flow])
    lead = len(before) - len(before.lstrip(" -"))
    path = _path(lines, row, head.column if head else lead, begins_item=before.lstrip().startswith("-"))
    if head is not None:
        path = (*path, head.key)
    parts = before[flow + 1 :].split(",")
    last = parts[-1]
    key, colon, value = last.partition(":")
    if colon:
        return _values(_block(path), key.strip(), len(before) - len(value.lstrip()), value.lstrip())
    word = last.strip()
    used = {part.partition(":")[0].strip(): part.partition(":")[2].strip() for part in parts[:-1]}
    return _keys(path, len(before) - len(word), word, used)


def _parse(line: str) -> _Line | None:
    found = _KEY.match(line)
    if found is None:
        return None
    column = len(found["indent"]) + len(found["dashes"])
    return _Line(column, found["key"], found["rest"], bool(found["dashes"]), len(found["indent"]))


def _path(lines: Sequence[str], row: int, column: int, *, begins_item: bool) -> tuple[str, ...]:
    """The keys above a place, the outermost first."""
    path: list[str] = []
    limit = column
    if begins_item:
        indent = len(lines[row]) - len(lines[row].lstrip())
        limit = indent + 1
    for above in reversed(lines[:row]):
        found = _parse(above)
        if found is None:
            continue
        if found.item and found.dash < limit <= found.column:
            # The entry of a list that the place belongs to: what holds the list stands at its dash, or left of it.
            limit = found.dash + 1
        if found.column < limit and not found.rest.split("#")[0].strip():
            path.append(found.key)
            limit = found.column
            if found.item:
                limit = found.dash + 1
        if limit <= 0:
            break
    return tuple(reversed(path))


def _siblings(lines: Sequence[str], row: int, column: int, *, begins_item: bool) -> dict[str, str]:
    """The keys that the mapping around a place has already, with what follows each on its line."""
    used: dict[str, str] = {}
    for step in (-1, 1):
        if step == -1 and begins_item:
            continue
        at = row + step
        while 0 <= at < len(lines):
            line = lines[at]
            found = _parse(line)
            indent = len(line) - len(line.lstrip())
            if line.strip() and indent < column and not (found and found.column == column and step == -1):
                break
            if found is not None and found.column == column:
                if found.item and step == 1:
                    break
                used[found.key] = found.rest.strip()
                if found.item:
                    break
            at += step
    return used


def _block(path: Sequence[str]) -> BlockSpec | None:
    spec: BlockSpec | None = LANGUAGE
    for key in path:
        if spec is None:
            return None
        if spec.nested and key == spec.nested:
            continue
        field = spec.find(key)
        spec = field.block if field is not None else None
    return spec


def _keys(path: Sequence[str], start: int, word: str, used: dict[str, str]) -> Completion:
    spec = _block(path)
    if spec is None:
        return Completion(start, word, ".".join(path), ())
    tag = used.get(spec.tag, "").strip("\"'") if spec.tag else ""
    found = [
        Suggestion(field.name, f"{field.name}:" + ("" if _opens(field) else " "), _detail(field), _text(field, spec))
        for field in spec.fields
        if not set(field.names) & used.keys()
        and (not field.only or not tag or tag in field.only)
        and field.status is not Status.IGNORED
        and any(name.startswith(word) for name in field.names)
    ]
    # The tables have what matters most first.
    found.sort(key=lambda each: not _required(spec, each.label))
    return Completion(start, word, spec.name or "the file", tuple(found))


def _required(spec: BlockSpec, name: str) -> bool:
    return spec.field(name).required


def _opens(field: Field) -> bool:
    """Whether its value goes on in the next lines."""
    return field.kind in _BLOCKS and field.kind not in (Kind.WORD_OR_BLOCK, Kind.SIZES)


def _values(spec: BlockSpec | None, key: str, start: int, value: str) -> Completion:
    field = spec.find(key) if spec is not None else None
    if field is None:
        return Completion(start, value, key, ())
    words = list(field.words)
    if field.kind is Kind.BOOLEAN:
        words = ["true", "false"]
    elif field.kind is Kind.IOPS:
        words = ["max"]
    elif field.kind is Kind.PROCESSES:
        words = ["auto", "single"]
    if field.default and not words and " " not in field.default:
        words = [field.default]
    found = [
        Suggestion(word, word, "the default" if word == field.default else field.kind.value, field.text)
        for word in words
        if word.startswith(value.strip("\"'"))
    ]
    return Completion(start, value, field.name, tuple(found))


def _detail(field: Field) -> str:
    parts = [field.kind.value]
    if field.required:
        parts.append("required")
    elif field.default:
        parts.append(f"default {field.default}")
    return ", ".join(parts)


def _text(field: Field, spec: BlockSpec) -> str:
    text = field.text
    if field.words:
        text += " One of " + ", ".join(field.words) + "."
    if field.only:
        text += f" Where {spec.tag} is {' or '.join(field.only)}."
    if field.status is Status.LATER:
        text += " Not acted on yet."
    return text
