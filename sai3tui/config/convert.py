"""Rewrites a configuration from an older form into the current one, by the tables of the language.

Comments and order stay. What comes out is loaded again and must mean the same, else nothing comes out.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarint import ScalarInt

from sai3tui.config.language import LANGUAGE
from sai3tui.config.load import Loaded, load_config, problems_error
from sai3tui.config.model import Config, StageType
from sai3tui.config.resolve import resolve
from sai3tui.config.resolved import NamespaceFrom
from sai3tui.config.units import UnitError, parse_count, parse_size
from sai3tui.config.vocabulary import BlockSpec, Field, Kind
from sai3tui.config.yaml12 import MappingNode, parse_yaml
from sai3tui.errors import ConfigError

MAX_SPACES = 16
_UNBROKEN = 100_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """`text` is the file in the current form, `changes` says what was changed, in the order of the file; if that is
    empty, `text` is the file as it was."""

    text: str
    changes: tuple[str, ...]


def convert_text(source: str | bytes, path: str) -> Conversion:
    """`source` in the current form. Raises ConfigError for a file with errors, and for one that cannot be converted
    without another meaning."""
    before = load_config(source, path)
    config = before.require()
    text = source.decode("utf-8-sig") if isinstance(source, bytes) else source.removeprefix("\ufeff")
    try:
        rewritten, changes = _rewrite(text)
    except (YAMLError, ValueError, TypeError) as error:
        hint = "write it by hand: `sai3tui validate` says what is assumed"
        raise ConfigError(f"{path}: this file cannot be rewritten", hint=hint) from error
    completed, added = _complete(rewritten, config)
    if not (changes or added):
        return Conversion(text, ())
    if "\r\n" in text:
        completed = completed.replace("\r\n", "\n").replace("\n", "\r\n")
    _check_meaning(config, load_config(completed, path), path)
    return Conversion(completed, (*changes, *added))


def _check_meaning(config: Config, after: Loaded, path: str) -> None:
    if after.config is None:
        raise ConfigError(f"{path}: the rewritten file would not be valid") from problems_error(after.problems)
    if after.config != replace(config, path=after.config.path):
        raise ConfigError(f"{path}: the rewritten file would mean something else", hint="convert it by hand")


def _rewrite(text: str) -> tuple[str, list[str]]:
    step, dash = _indents(text)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _UNBROKEN
    yaml.indent(mapping=step, sequence=dash + 2, offset=dash)
    yaml.explicit_start = text.lstrip().startswith("---")
    root = yaml.load(text)
    rewriter = _Rewriter()
    if isinstance(root, CommentedMap):
        rewriter.mapping(root, LANGUAGE, "")
    if not rewriter.changes:
        return text, []
    out = io.StringIO()
    yaml.dump(root, out)
    return out.getvalue(), rewriter.changes


def _indents(text: str) -> tuple[int, int]:
    """How far a block's fields, and the dashes of a list, stand to the right of the key above them, where they first
    do."""
    step, dash = 0, -1
    above = ""
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if above.rstrip().endswith(":") and not above.lstrip().startswith("- "):
            distance = min(MAX_SPACES, max(0, _depth(line) - _depth(above)))
            if bare.startswith("- "):
                dash = distance if dash < 0 else dash
            elif distance:
                step = step or distance
        above = line.partition(" #")[0]
    return step or 2, 2 if dash < 0 else dash


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


class _Rewriter:
    """Walks the file along the tables. A mapping that is used in several places is rewritten once."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self._seen: set[int] = set()

    def mapping(self, node: CommentedMap, spec: BlockSpec, said: str) -> None:
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        # What a merge key brings belongs to another mapping.
        if not node.merge:
            if spec.nested and isinstance(node.get(spec.nested), CommentedMap) and not node[spec.nested].merge:
                self._flatten(node, spec.nested, said)
            self._rename(node, spec, said)
        for field in spec.fields:
            if field.name in node:
                self._value(node, field, f"{said}.{field.name}" if said else field.name)

    def _flatten(self, node: CommentedMap, key: str, said: str) -> None:
        inner: CommentedMap = node[key]
        place = list(node).index(key)
        comment = node.ca.items.pop(key, None)
        del node[key]
        for name, value in inner.items():
            if name in node:
                continue
            node.insert(place, name, value)
            place += 1
            if name in inner.ca.items:
                node.ca.items[name] = inner.ca.items[name]
        remark = comment[2].value.strip().lstrip("# ") if comment and len(comment) > 2 and comment[2] else ""
        first = next(iter(inner), None)
        if remark and first is not None:
            node.yaml_set_comment_before_after_key(first, before=remark, indent=node.lc.col or 0)
        self.changes.append(f"{said}.{key} stands in the stage itself")

    def _rename(self, node: CommentedMap, spec: BlockSpec, said: str) -> None:
        for field in spec.fields:
            for alias in field.aliases:
                if alias not in node:
                    continue
                where = f"{said}.{alias}" if said else alias
                present = [name for name in field.names if node.get(name) is not None]
                if present and present[0] != alias:
                    del node[alias]
                    self.changes.append(f"{where} is removed: {present[0]} counts")
                    continue
                if field.name in node:
                    del node[field.name]
                place = list(node).index(alias)
                comment = node.ca.items.pop(alias, None)
                value = node.pop(alias)
                node.insert(place, field.name, value)
                if comment is not None:
                    node.ca.items[field.name] = comment
                self.changes.append(f"{where} is called {field.name}")

    def _value(self, parent: CommentedMap, field: Field, said: str) -> None:
        value = parent[field.name]
        if isinstance(value, CommentedMap) and field.kind is Kind.SIZES:
            value = self._plain_sizes(parent, field, value, said)
        if isinstance(value, CommentedMap) and field.block is not None:
            self.mapping(value, field.block, said)
        elif isinstance(value, CommentedSeq) and field.block is not None:
            for number, item in enumerate(value):
                if isinstance(item, CommentedMap):
                    self.mapping(item, field.block, f"{said}[{number}]")
        elif not isinstance(value, CommentedMap | CommentedSeq):
            changed = _current(field, value)
            if changed is not None and not parent.merge:
                parent[field.name] = changed
                self.changes.append(f"{said} is written {changed}")

    def _plain_sizes(self, parent: CommentedMap, field: Field, value: CommentedMap, said: str) -> object:
        """`{fixed: X}` as X, `{uniform: {...}}` as `{type: uniform, ...}`."""
        if parent.merge or value.merge or "type" in value or len(value) != 1:
            return value
        (kind,) = value
        inner = value[kind]
        if kind == "fixed":
            parent[field.name] = inner
            self.changes.append(f"{said} is written {inner}")
            return inner
        if kind in ("uniform", "lognormal") and isinstance(inner, CommentedMap) and not inner.merge:
            inner.insert(0, "type", kind)
            parent[field.name] = inner
            self.changes.append(f"{said}: {kind} is its type")
            return inner
        return value


def _current(field: Field, value: object) -> int | str | None:
    """How a scalar is written today; None if as it is."""
    if field.kind is Kind.COUNT or field.kind is Kind.IOPS:
        return _plain(value, parse_count)
    if field.kind in (Kind.SIZE, Kind.SIZES):
        return _plain(value, parse_size)
    if field.words and isinstance(value, str) and value not in field.words:
        other = dict(field.other_words).get(value.lower())
        if other is not None:
            return other
        bare = _bare(value)
        return next((word for word in field.words if _bare(word) == bare), None)
    return None


def _plain(value: object, parse: Callable[[str], int]) -> int | None:
    """Digits without separators; None where there are none."""
    if isinstance(value, ScalarInt):
        # 0x10 and 007 are such numbers too, and stay.
        return int(value) if getattr(value, "_underscore", None) else None
    if not isinstance(value, str) or not any(separator in value.strip() for separator in ",_ "):
        return None
    if not value.translate(str.maketrans("", "", ",_ ")).isdigit():
        return None
    try:
        return parse(value)
    except UnitError:
        return None


def _bare(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


def _complete(text: str, config: Config) -> tuple[str, list[str]]:
    """The file with what `distributed` leaves out. That goes to the beginning of the block, where no comment of
    another field is torn from it."""
    root = parse_yaml(text)
    if not isinstance(root, MappingNode):
        return text, []
    entry = next((each for each in root.entries if each.key == "distributed"), None)
    if entry is None or not isinstance(entry.value, MappingNode) or not entry.value.entries:
        return text, []
    block = entry.value
    present = {each.key: each.value for each in block.entries}
    fleet = config.distributed
    missing = [
        (name, value)
        for name, value in (
            ("shared_filesystem", "true"),
            ("tree_creation_mode", fleet.tree_creation_mode.value),
            ("path_selection", fleet.path_selection.value),
        )
        if name not in present and not (name == "shared_filesystem" and _is_to_be_seen(config))
    ]
    stages = _stages(config) if "stages" not in present else []
    if not (missing or stages):
        return text, []
    added = [f"distributed.{name}: {value} is written out" for name, value in missing]
    added += ["distributed.stages are written out"] if stages else []
    lines = text.splitlines(keepends=True)
    column = min(each.key_at.column for each in block.entries) - 1
    first = min(each.key_at.line for each in block.entries)
    if first == entry.key_at.line:
        line = lines[first - 1]
        brace = line.find("{", entry.key_at.column - 1)
        fields = [f"{name}: {value}" for name, value in missing]
        fields += [f"stages: [{', '.join(f'{{{stage}}}' for stage in stages)}]"] if stages else []
        lines[first - 1] = line[: brace + 1] + ", ".join(fields) + ", " + line[brace + 1 :]
        return "".join(lines), added
    margin = " " * column
    new = [f"{margin}{name}: {value}\n" for name, value in missing]
    new += [f"{margin}stages:\n", *(f"{margin}  - {{{stage}}}\n" for stage in stages)] if stages else []
    lines[entry.key_at.line : entry.key_at.line] = new
    return "".join(lines), added


def _is_to_be_seen(config: Config) -> bool:
    """Whether preflight looks if agents share their files: to write that they do would keep it from looking."""
    resolved = resolve(config).resolved
    return resolved is not None and resolved.shared and resolved.namespace_from is NamespaceFrom.ASSUMED


def _stages(config: Config) -> list[str]:
    found = []
    for stage in config.stages:
        text = f"name: {stage.name}, order: {stage.order}, type: {stage.type.value}"
        text += f", completion: {stage.completion.value}"
        if stage.type is StageType.EXECUTE and stage.duration is not None:
            text += f", duration: {stage.duration:.9g}s"
        found.append(text)
    return found
