"""Reads typed fields out of a YAML mapping, reports what is wrong with each, and knows afterwards which keys nobody
asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from sai3tui.config.model import Placed, Position
from sai3tui.config.problems import ProblemList
from sai3tui.config.units import UnitError, parse_count, parse_duration, parse_size
from sai3tui.config.yaml12 import MappingNode, Node, ScalarNode, SequenceNode

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")
Default = TypeVar("Default")

MAX_TEXT = 4096
MAX_FLOAT = 1e15


def describe(node: Node) -> str:
    """What a node is, for messages: `a list`, `a mapping`, `'text'`."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    return "nothing" if node.value is None else repr(node.text[:60])


class Block:
    """One mapping of the file. Each typed method asks for one key; the first of several names that is there counts.

    A key that is missing, or has no value, gives the default; one that cannot be read gives the default too and is
    an error in the problem list.
    """

    def __init__(self, node: MappingNode, name: str, problems: ProblemList) -> None:
        self.node = node
        self.name = name
        self.problems = problems
        self._entries = {entry.key: entry for entry in node.entries}
        self._known: set[str] = set()

    @property
    def at(self) -> Position:
        return self.node.at

    def path_of(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def position_of(self, *names: str) -> Position:
        """Where the value of the first of `names` stands, else the block."""
        node = self.get(*names)
        return node.at if node is not None else self.at

    def get(self, *names: str) -> Node | None:
        """The value under the first of `names` that is there and not null."""
        self._known.update(names)
        for name in names:
            entry = self._entries.get(name)
            if entry is not None and not (isinstance(entry.value, ScalarNode) and entry.value.value is None):
                return entry.value
        return None

    def has(self, *names: str) -> bool:
        return self.get(*names) is not None

    def error(self, at: Position, code: str, message: str, hint: str = "") -> None:
        self.problems.error(at, code, message, hint)

    def wrong(self, names: tuple[str, ...], node: Node, expected: str, hint: str = "") -> None:
        """Report that the value `node` is not what is `expected` there."""
        self.error(node.at, "type", f"{self.path_of(self._used(names))} is {describe(node)}, not {expected}", hint)

    def require(self, *names: str) -> bool:
        """Whether one of `names` is there; an error where none is."""
        if self.has(*names):
            return True
        where = self.name or "the file"
        self.error(self.at, "required", f"{where} has no {names[0]!r}", f"add '{names[0]}:'")
        return False

    def text(self, *names: str, default: Default) -> str | Default:
        """A text; numbers and booleans count as what was written."""
        node = self.get(*names)
        if node is None:
            return default
        if not isinstance(node, ScalarNode):
            self.wrong(names, node, "a text")
            return default
        if len(node.text) > MAX_TEXT or any(ord(c) < 0x20 or ord(c) == 0x7F for c in node.text):
            self.error(
                node.at, "type", f"{self.path_of(self._used(names))} is too long or has control characters in it"
            )
            return default
        return node.text

    def placed(self, *names: str) -> Placed | None:
        text = self.text(*names, default=None)
        return None if text is None else Placed(text, self.position_of(*names))

    def boolean(self, *names: str, default: bool) -> bool:
        node = self.get(*names)
        if node is None:
            return default
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        hint = ""
        if isinstance(node, ScalarNode) and node.text.lower() in ("on", "off", "yes", "no", "true", "false"):
            hint = f"write {'true' if node.text.lower() in ('on', 'yes', 'true') else 'false'}"
        self.wrong(names, node, "true or false", hint)
        return default

    def count(self, *names: str, default: Default, least: int = 0, most: int = 2**63 - 1) -> int | Default:
        """A whole number in [least, most]."""
        value = self._unit(names, parse_count)
        return default if value is None else self._within(names, value, least, most, default)

    def size(self, *names: str, default: Default, least: int = 0) -> int | Default:
        """Bytes."""
        value = self._unit(names, parse_size)
        return default if value is None else self._within(names, value, least, 2**63 - 1, default)

    def seconds(self, *names: str, default: Default, least: float = 0.0) -> float | Default:
        """A duration in seconds."""
        value = self._unit(names, parse_duration)
        return default if value is None else self._within(names, value, least, MAX_FLOAT, default)

    def number(self, *names: str, default: float, least: float = 0.0, most: float = MAX_FLOAT) -> float:
        node = self.get(*names)
        if node is None:
            return default
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(names, node, "a number")
            return default
        return float(self._within(names, value, least, most, default))

    def choice(
        self, *names: str, of: type[Choice], default: Default, aliases: dict[str, str] | None = None
    ) -> Choice | Default:
        """One word of an enumeration. Case, and '-' or '_' left out or exchanged, do not matter."""
        node = self.get(*names)
        if node is None:
            return default
        found = None
        if isinstance(node, ScalarNode):
            spelled = {_squeezed(member.value): member for member in of}
            word = _squeezed((aliases or {}).get(node.text.lower(), node.text))
            found = spelled.get(word)
        if found is None:
            options = [member.value for member in of]
            close = difflib.get_close_matches(node.text.lower(), options, 1) if isinstance(node, ScalarNode) else []
            expected = f"one of {', '.join(options)}"
            self.error(
                node.at,
                "choice",
                f"{self.path_of(self._used(names))} is {describe(node)}, not {expected}",
                f"did you mean {close[0]!r}?" if close else "",
            )
            return default
        return found

    def block(self, *names: str) -> Block | None:
        """A mapping below this one."""
        node = self.get(*names)
        if node is None:
            return None
        if not isinstance(node, MappingNode):
            self.wrong(names, node, "a mapping")
            return None
        return Block(node, self.path_of(self._used(names)), self.problems)

    def items(self, *names: str) -> list[tuple[str, Node]]:
        """The elements of a list with their names for messages: `workload[2]`."""
        node = self.get(*names)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self.wrong(names, node, "a list", "begin each entry with '- '")
            return []
        name = self.path_of(self._used(names))
        return [(f"{name}[{index}]", item) for index, item in enumerate(node.items)]

    def blocks(self, *names: str) -> Iterator[Block]:
        """The elements of a list that must be mappings."""
        for name, node in self.items(*names):
            if isinstance(node, MappingNode):
                yield Block(node, name, self.problems)
            else:
                self.error(node.at, "type", f"{name} is {describe(node)}, not a mapping")

    def texts(self, *names: str) -> list[Placed]:
        """A list of texts."""
        found = []
        for name, node in self.items(*names):
            if isinstance(node, ScalarNode) and node.value is not None:
                found.append(Placed(node.text, node.at))
            else:
                self.error(node.at, "type", f"{name} is {describe(node)}, not a text")
        return found

    def without_effect(self, *names: str) -> None:
        """Keys that other files have and that change nothing: taken in silence."""
        self._known.update(names)

    def not_yet(self, *names: str) -> None:
        """Keys of features that do not exist yet: one notice each."""
        for name in names:
            self._known.add(name)
            if self.get(name) is not None:
                entry = self._entries[name]
                self.problems.notice(entry.key_at, "not-yet", f"{self.path_of(name)} is not acted on yet")

    def finish(self) -> None:
        """Warn about keys that nobody asked for. Call it when all fields have been read."""
        for key, entry in self._entries.items():
            if key not in self._known:
                close = difflib.get_close_matches(key, sorted(self._known), 1, 0.6)
                hint = f"did you mean {close[0]!r}?" if close else "it has no effect"
                where = f" in {self.name}" if self.name else ""
                self.problems.warning(entry.key_at, "unknown-key", f"unknown key {key[:60]!r}{where}", hint)

    def _used(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if name in self._entries), names[0])

    def _unit(self, names: tuple[str, ...], parse: Callable[[int | float | str], Value]) -> Value | None:
        node = self.get(*names)
        if node is None:
            return None
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or value is None:
            self.wrong(names, node, "a number")
            return None
        try:
            return parse(value)
        except UnitError as error:
            self.error(node.at, "unit", f"{self.path_of(self._used(names))}: {error.message}", error.hint)
            return None

    def _within(
        self, names: tuple[str, ...], value: Value, least: float, most: float, default: Default
    ) -> Value | Default:
        if not least <= value <= most:  # type: ignore[operator]
            bounds = f"at least {least}" if most >= MAX_FLOAT else f"between {least} and {most}"
            name = self.path_of(self._used(names))
            self.error(self.position_of(*names), "range", f"{name} is {value}: it must be {bounds}")
            return default
        return value


def _squeezed(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")
