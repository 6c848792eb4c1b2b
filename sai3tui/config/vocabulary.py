"""What a field of the language is: the types that the tables in `language*.py` are made of.

The loader, `sai3tui schema`, `sai3tui convert`, docs/config.md and docs/compatibility.md all read these tables, so a
field that is not in them does not exist.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What a value may be; the value is its name in documents."""

    COUNT = "count"
    SIZE = "size"
    SIGNED_SIZE = "size, or -1"
    SECONDS = "duration"
    NUMBER = "number"
    BOOLEAN = "true or false"
    TEXT = "text"
    TEXTS = "list of texts"
    CHOICE = "word"
    BLOCK = "mapping"
    BLOCKS = "list of mappings"
    WORD_OR_BLOCK = "word or mapping"
    TEXTS_OR_BLOCKS = "list of texts or mappings"
    SIZES = "size or mapping"
    IOPS = "number, or max"
    PROCESSES = "auto, single or a number"
    QUANTITY = "number with unit"
    MAP = "mapping of texts"
    ANYTHING = "anything"


class Status(StrEnum):
    """What is done about a field that is given; the value is what documents say."""

    ACTS = "acts"
    LATER = "accepted with a notice; not acted on yet"
    IGNORED = "accepted; changes nothing"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block. `text` says what it means.

    `aliases` are other names that files use for it. `default` is shown in documents, and for `LATER` fields is the
    value that needs no notice. `words` are the values of a CHOICE, `other_words` other spellings of them as (spelling,
    word), `later_words` those that are not acted on yet. `only` are the values of the block's tag (an operation's
    `op`, a stage's `type`) for which it means something; none: all. `ours`: the predecessor does not know it. `note`
    says what is done differently from the predecessor, `notice` why the field does nothing, to whoever gives it.
    """

    name: str
    kind: Kind
    text: str
    default: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = False
    words: tuple[str, ...] = ()
    other_words: tuple[tuple[str, str], ...] = ()
    later_words: tuple[str, ...] = ()
    block: BlockSpec | None = None
    least: float | None = None
    most: float | None = None
    status: Status = Status.ACTS
    only: tuple[str, ...] = ()
    ours: bool = False
    note: str = ""
    notice: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One kind of mapping. `example` is a whole configuration file that shows it; `nested`: fields may also stand in a
    mapping of that name, as older files have them."""

    name: str
    text: str
    fields: tuple[Field, ...]
    example: str = ""
    tag: str = ""
    nested: str = ""
    _by_name: Mapping[str, Field] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The first field of a name counts.
        by_name = {name: field for field in reversed(self.fields) for name in field.names}
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))

    def find(self, name: str) -> Field | None:
        """The field with that name or alias."""
        return self._by_name.get(name)

    def field(self, name: str) -> Field:
        """The field with that name or alias. Raises KeyError."""
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"{self.name} has no field {name!r}") from None

    @property
    def names(self) -> list[str]:
        """All names that a file may use, sorted."""
        return sorted(self._by_name)


def words_of(choices: type[StrEnum]) -> tuple[str, ...]:
    """The words of an enumeration, for `Field.words`."""
    return tuple(member.value for member in choices)


def blocks_below(spec: BlockSpec) -> list[BlockSpec]:
    """`spec` and every block below it, each once, outer ones first."""
    found: list[BlockSpec] = []
    todo = [spec]
    while todo:
        block = todo.pop(0)
        if all(block is not known for known in found):
            found.append(block)
            todo += [field.block for field in block.fields if field.block is not None]
    return found
