"""Reads typed fields out of a YAML mapping by the tables of the language, and reports what is wrong with each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from sai3tui.config.locations import CONTROL
from sai3tui.config.model import Placed, Position
from sai3tui.config.problems import ProblemList
from sai3tui.config.thresholds import Bound, parse_bound
from sai3tui.config.units import UnitError, parse_count, parse_duration, parse_size
from sai3tui.config.vocabulary import BlockSpec, Field, Status
from sai3tui.config.yaml12 import Entry, MappingNode, Node, ScalarNode, SequenceNode

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")
Default = TypeVar("Default")

MAX_TEXT = 4096
MAX_FLOAT = 1e15
MAX_HINTS = 50
"""So many unknown keys of a block are compared with the known ones: a file full of them is no configuration."""


def describe(node: Node) -> str:
    """What a node is, for messages: `a list`, `a mapping`, `'text'`."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    return "nothing" if node.value is None else repr(node.text[:60])


class Block:
    """One mapping of the file. Each typed method asks for one field of `spec`, under any of its names.

    A field that is missing, or has no value, gives the default; one that cannot be read gives the default too and is
    an error in the problem list. Asking for a field that the language does not have raises KeyError.
    """

    def __init__(self, node: MappingNode, name: str, problems: ProblemList, spec: BlockSpec) -> None:
        self.node = node
        self.name = name
        self.problems = problems
        self.spec = spec
        self._entries = {entry.key: entry for entry in node.entries}
        self._given = _given(node, spec)

    @property
    def at(self) -> Position:
        return self.node.at

    def path_of(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def position_of(self, name: str) -> Position:
        """Where the value of a field stands, else the block."""
        node = self.get(name)
        return node.at if node is not None else self.at

    def get(self, name: str) -> Node | None:
        """The value of a field under the first of its names that is there and not null."""
        entries = self._given.get(name)
        if entries is None:
            entries = self._given.get(self.spec.field(name).name)
        return entries[0].value if entries is not None else None

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def error(self, at: Position, code: str, message: str, hint: str = "") -> None:
        self.problems.error(at, code, message, hint)

    def wrong(self, name: str, node: Node, expected: str, hint: str = "") -> None:
        """Report that the value `node` is not what is `expected` there."""
        self.error(node.at, "type", f"{self._said(name)} is {describe(node)}, not {expected}", hint)

    def require(self, *names: str) -> bool:
        """Whether one of these fields is there; an error where none is."""
        if any(self.has(name) for name in names):
            return True
        where = self.name or "the file"
        self.error(self.at, "required", f"{where} has no {names[0]!r}", f"add '{names[0]}:'")
        return False

    def text(self, name: str, default: Default) -> str | Default:
        """A text; numbers and booleans count as what was written."""
        node = self.get(name)
        if node is None:
            return default
        if not isinstance(node, ScalarNode):
            self.wrong(name, node, "a text")
            return default
        if len(node.text) > MAX_TEXT or CONTROL.search(node.text):
            self.error(node.at, "type", f"{self._said(name)} is too long or has control characters in it")
            return default
        return node.text

    def placed(self, name: str) -> Placed | None:
        text = self.text(name, default=None)
        return None if text is None else Placed(text, self.position_of(name))

    def boolean(self, name: str, default: bool) -> bool:
        node = self.get(name)
        if node is None:
            return default
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        hint = ""
        if isinstance(node, ScalarNode) and node.text.lower() in ("on", "off", "yes", "no", "true", "false"):
            hint = f"write {'true' if node.text.lower() in ('on', 'yes', 'true') else 'false'}"
        self.wrong(name, node, "true or false", hint)
        return default

    def count(self, name: str, default: Default) -> int | Default:
        """A whole number within the bounds of the field."""
        value = self._unit(name, parse_count)
        return default if value is None else self._within(name, value, default)

    def size(self, name: str, default: Default) -> int | Default:
        """Bytes."""
        value = self._unit(name, parse_size)
        return default if value is None else self._within(name, value, default)

    def signed_size(self, name: str, default: int) -> int:
        """Bytes, or -1."""
        node = self.get(name)
        return -1 if isinstance(node, ScalarNode) and node.value == -1 else self.size(name, default)

    def seconds(self, name: str, default: Default) -> float | Default:
        """A duration in seconds."""
        value = self._unit(name, parse_duration)
        return default if value is None else self._within(name, value, default)

    def number(self, name: str, default: float) -> float:
        node = self.get(name)
        if node is None:
            return default
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, node, "a number")
            return default
        return float(self._within(name, value, default))

    def bound(self, name: str) -> Bound | None:
        """The bound of a threshold."""
        return self._unit(name, parse_bound)

    def choice(self, name: str, of: type[Choice], default: Default) -> Choice | Default:
        """One word of an enumeration. Case, and '-' or '_' left out or exchanged, do not matter."""
        node = self.get(name)
        if node is None:
            return default
        found = None
        if isinstance(node, ScalarNode):
            word = dict(self.spec.field(name).other_words).get(node.text.lower(), node.text)
            found = next((member for member in of if member.value == word), None)
            if found is None:
                found = {_squeezed(member.value): member for member in of}.get(_squeezed(word))
        if found is None:
            options = [member.value for member in of]
            close = difflib.get_close_matches(node.text.lower(), options, 1) if isinstance(node, ScalarNode) else []
            expected = f"one of {', '.join(options)}"
            self.error(
                node.at,
                "choice",
                f"{self._said(name)} is {describe(node)}, not {expected}",
                f"did you mean {close[0]!r}?" if close else "",
            )
            return default
        if found.value in self.spec.field(name).later_words:
            what = f"{self.spec.name}.{name}.{found.value}"
            self.problems.notice_once(what, node.at, "not-yet", f"{name}: {found.value} is not acted on yet")
        return found

    def block(self, name: str) -> Block | None:
        """A mapping below this one."""
        node = self.get(name)
        if node is None:
            return None
        if not isinstance(node, MappingNode):
            self.wrong(name, node, "a mapping")
            return None
        return self._below(node, self._said(name), name)

    def items(self, name: str) -> list[tuple[str, Node]]:
        """The elements of a list with their names for messages: `workload[2]`."""
        node = self.get(name)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self.wrong(name, node, "a list", "begin each entry with '- '")
            return []
        said = self._said(name)
        return [(f"{said}[{index}]", item) for index, item in enumerate(node.items)]

    def blocks(self, name: str) -> Iterator[Block]:
        """The elements of a list that must be mappings."""
        for said, node in self.items(name):
            if isinstance(node, MappingNode):
                yield self._below(node, said, name)
            else:
                self.error(node.at, "type", f"{said} is {describe(node)}, not a mapping")

    def texts_or_blocks(self, name: str) -> Iterator[Placed | Block]:
        """The elements of a list of texts or mappings."""
        for said, node in self.items(name):
            if isinstance(node, MappingNode):
                yield self._below(node, said, name)
            elif isinstance(node, ScalarNode) and node.value is not None:
                yield Placed(node.text, node.at)
            else:
                self.error(node.at, "type", f"{said} is {describe(node)}, not a text or a mapping")

    def texts(self, name: str) -> list[Placed]:
        """A list of texts."""
        found = []
        for said, node in self.items(name):
            if isinstance(node, ScalarNode) and node.value is not None:
                found.append(Placed(node.text, node.at))
            else:
                self.error(node.at, "type", f"{said} is {describe(node)}, not a text")
        return found

    def foreign(self, *names: str) -> None:
        """Warn about unknown keys in blocks that nothing reads yet."""
        for name in names:
            node = self.get(name)
            if isinstance(node, MappingNode):
                self._below(node, self._said(name), name).warn_of_unknown()

    def finish(self, tag: str = "") -> None:
        """Say which of the fields that are given have no effect: unknown ones, those that are not acted on yet, and
        those that mean nothing for `tag`, the value of the block's tag. Call it once, when all have been read."""
        self.warn_of_unknown()
        for name, given in self._given.items():
            field = self.spec.field(name)
            first, said = given[0], self.path_of(given[0].key)
            if len(given) > 1:
                message = f"{said} and {given[1].key} mean the same: {first.key} counts"
                self.problems.warning(given[1].key_at, "twice", message, "remove one")
            if tag and field.only and tag not in field.only:
                message = f"{said} has no effect where {self.spec.tag} is {tag}"
                self.problems.notice(first.key_at, "no-effect", message)
            elif field.status is Status.LATER and not _is_default(first.value, field):
                what = f"{self.spec.name}.{field.name}"
                self.problems.notice_once(what, first.key_at, "not-yet", f"{said} is not acted on yet")
            elif field.notice and not _is_default(first.value, field):
                what = f"{self.spec.name}.{field.name}"
                self.problems.notice_once(what, first.key_at, "no-effect", f"{said} has no effect: {field.notice}")

    def warn_of_unknown(self) -> None:
        unknown = 0
        for key, entry in self._entries.items():
            if self.spec.find(key) is None and key != self.spec.nested:
                unknown += 1
                close = difflib.get_close_matches(key[:60], self.spec.names, 1, 0.6) if unknown <= MAX_HINTS else []
                hint = f"did you mean {close[0]!r}?" if close else "it has no effect"
                where = f" in {self.name}" if self.name else ""
                self.problems.warning(entry.key_at, "unknown-key", f"unknown key {key[:60]!r}{where}", hint)

    def _below(self, node: MappingNode, said: str, name: str) -> Block:
        spec = self.spec.field(name).block
        if spec is None:
            raise KeyError(f"{self.spec.name}.{name} is no block")
        return Block(node, said, self.problems, spec)

    def _said(self, name: str) -> str:
        """The path of a field, with the name that the file has for it."""
        names = self.spec.field(name).names
        return self.path_of(next((known for known in names if known in self._entries), name))

    def _unit(self, name: str, parse: Callable[[int | float | str], Value]) -> Value | None:
        node = self.get(name)
        if node is None:
            return None
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or value is None:
            self.wrong(name, node, "a number")
            return None
        try:
            return parse(value)
        except UnitError as error:
            self.error(node.at, "unit", f"{self._said(name)}: {error.message}", error.hint)
            return None

    def _within(self, name: str, value: Value, default: Default) -> Value | Default:
        field = self.spec.field(name)
        least = 0 if field.least is None else field.least
        most = field.most if field.most is not None else 2**63 - 1 if isinstance(value, int) else MAX_FLOAT
        if not least <= value <= most:  # type: ignore[operator]
            bounds = f"at least {least}" if field.most is None else f"between {least} and {most}"
            self.error(self.position_of(name), "range", f"{self._said(name)} is {value}: it must be {bounds}")
            return default
        return value


def _given(node: MappingNode, spec: BlockSpec) -> dict[str, list[Entry]]:
    """By field, the entries that give it a value: in the order of the field's names, of which the first counts."""
    found: dict[str, list[Entry]] = {}
    for entry in node.entries:
        field = spec.find(entry.key)
        if field is not None and not _is_null(entry.value):
            found.setdefault(field.name, []).append(entry)
    for name, entries in found.items():
        if len(entries) > 1:
            entries.sort(key=lambda entry: spec.field(name).names.index(entry.key))
    return found


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _is_default(node: Node, field: Field) -> bool:
    return isinstance(node, ScalarNode) and _squeezed(node.text) == _squeezed(field.default)


def _squeezed(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")
