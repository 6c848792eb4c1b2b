"""Object sets and operations: which keys there will be, and which of them each entry of the workload means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sai3tui.config.coverage import finds_any
from sai3tui.config.model import Config, EnsureObjects, KeySource, Position, Prepare, WorkloadOp
from sai3tui.config.ops import Op
from sai3tui.config.patterns import (
    HEX,
    NUMBER,
    PathKind,
    kind_of,
    list_prefix,
    literal_prefix,
    matches_all,
)
from sai3tui.config.problems import ProblemList
from sai3tui.config.resolved import OpSource, ResolvedOp, ResolvedSet, SetKind
from sai3tui.config.roots import Roots
from sai3tui.errors import ConfigError

READING = frozenset({Op.GET, Op.STAT})
DELETING = frozenset({Op.DELETE, Op.RMDIR})
_DIRECTORY_OPS = frozenset({Op.LIST, Op.MKDIR, Op.RMDIR})


def has_delete_pool(config: Config) -> bool:
    """Whether what is read and what is deleted are two pools of the same count, so that no read meets a delete."""
    prepare = config.prepare
    if prepare is None or prepare.directory_structure is not None:
        return False
    ops = {entry.op for entry in config.entries}
    return bool(ops & READING) and bool(ops & DELETING)


def resolve_sets(config: Config, roots: Roots, problems: ProblemList) -> tuple[ResolvedSet, ...]:
    """The object sets of prepare, numbered in the order of the file."""
    sets: list[ResolvedSet] = []
    if config.prepare is None:
        return ()
    pools = [SetKind.PREPARED, *([SetKind.DELETABLE] if has_delete_pool(config) else [])]
    for entry in config.prepare.ensure_objects:
        prefix = _set_prefix(entry, roots, problems)
        if prefix is None:
            continue
        kinds = [SetKind.TREE] if config.prepare.directory_structure is not None else pools
        for kind in kinds:
            made = _make_set(len(sets), kind, prefix, entry, config.prepare)
            if any(other.prefix == made.prefix and other.kind is kind for other in sets):
                message = f"two entries of ensure_objects make the same objects under {prefix!r}"
                problems.error(_place_of(entry), "objects", message, "give them different base_uri")
            sets.append(made)
        if sets[-1].count == 0:
            problems.warning(entry.at, "objects", "this entry of ensure_objects makes no objects: its count is 0")
    return tuple(sets)


def _make_set(number: int, kind: SetKind, prefix: str, entry: EnsureObjects, prepare: Prepare) -> ResolvedSet:
    tree = prepare.directory_structure
    count = tree.files if tree is not None else entry.count
    shards = prepare.key_prefix_shards if tree is None else 0
    return ResolvedSet(number, kind, prefix, count, entry.size, entry.content, shards, tree, entry.at)


def _place_of(entry: EnsureObjects) -> Position:
    return entry.base_uri.at if entry.base_uri is not None else entry.at


def _set_prefix(entry: EnsureObjects, roots: Roots, problems: ProblemList) -> str | None:
    text = entry.base_uri.text if entry.base_uri is not None else ""
    if "*" in text:
        problems.error(_place_of(entry), "uri", f"base_uri {text!r} has a '*' in it", "name one directory")
        return None
    if text and not text.endswith("/"):
        text += "/"
    try:
        return roots.key_of(text)
    except ConfigError as error:
        problems.error(_place_of(entry), "uri", f"base_uri {error.message}", error.hint)
        return None


def resolve_ops(
    config: Config, roots: Roots, sets: tuple[ResolvedSet, ...], problems: ProblemList
) -> tuple[ResolvedOp, ...]:
    """Every entry of the workload, with those of weight 0 too."""
    found: list[ResolvedOp] = []
    puts = _new_objects(config, roots, sets) if config.dynamic_put_pool else {}
    for number, (owner, entry) in enumerate(_entries(config)):
        try:
            pattern = roots.key_of(entry.path)
        except ConfigError as error:
            problems.error(entry.at, "uri", f"path {error.message}", error.hint)
            continue
        source, set_ids, fresh = OpSource.PREFIX, tuple[int, ...](), tuple[int, ...]()
        if entry.op in _DIRECTORY_OPS:
            pattern = _directory(pattern)
            if entry.op is Op.MKDIR:
                source = OpSource.NEW
        elif entry.op is Op.PUT:
            pattern, source, set_ids = _put(pattern, sets)
        else:
            if entry.op in READING:
                made = puts.get(owner, {})
                fresh = tuple(other for other, template in made.items() if matches_all(pattern, template))
            pattern, source, set_ids = _existing(entry, pattern, sets, problems, made=bool(fresh))
        found.append(
            ResolvedOp(
                number,
                entry.op,
                entry.weight,
                pattern,
                source,
                set_ids,
                entry.size,
                entry.content,
                entry.concurrency,
                entry.recursive,
                entry.at,
                entry.io_rate,
                entry.popularity,
                entry.zipf_exponent,
                fresh,
                owner,
                entry.verify,
                entry.read_range,
                entry.part_size,
                entry.delete_many,
            )
        )
    _say_what_is_divided(found, problems)
    return tuple(_made(op, found, problems) if op.op is Op.RMDIR else op for op in found)


def _made(op: ResolvedOp, ops: list[ResolvedOp], problems: ProblemList) -> ResolvedOp:
    """RMDIR takes what MKDIR makes at the same path of the same workload."""
    if any(o.op is Op.MKDIR and o.pattern == op.pattern and o.stage == op.stage and o.weight for o in ops):
        return replace(op, source=OpSource.MADE)
    if op.weight:
        message = f"rmdir {op.pattern!r}: no mkdir entry makes directories there, so it is that directory itself"
        problems.warning(op.at, "operation", message, "give it the path of a mkdir entry")
    return op


def _entries(config: Config) -> Iterator[tuple[str, WorkloadOp]]:
    """Every entry of the file's workload, and of those of stages with the stage's name."""
    for owner, entries in [("", config.workload), *((stage.name, stage.workload or ()) for stage in config.stages)]:
        for entry in entries:
            yield owner, entry


def _directory(pattern: str) -> str:
    if kind_of(pattern) is PathKind.GLOB:
        return list_prefix(pattern)
    return pattern if not pattern or pattern.endswith("/") else pattern + "/"


def _put(pattern: str, sets: tuple[ResolvedSet, ...]) -> tuple[str, OpSource, tuple[int, ...]]:
    """A PUT into a tree overwrites its files; any other one makes objects of its own."""
    below = pattern if kind_of(pattern) is PathKind.GLOB else _directory(pattern) + "*"
    ids = tuple(s.set_id for s in sets if s.tree is not None and finds_any(below, s))
    if ids:
        return below, OpSource.SETS, ids
    return _directory(pattern), OpSource.NEW, ()


def _new_objects(config: Config, roots: Roots, sets: tuple[ResolvedSet, ...]) -> dict[str, dict[int, str]]:
    """What the keys of the new objects of every PUT look like, by the stages whose own workload it is in and the
    numbers of the entries."""
    shard = f"{HEX}/" if config.prepare is not None and config.prepare.key_prefix_shards else ""
    found: dict[str, dict[int, str]] = {}
    for number, (owner, entry) in enumerate(_entries(config)):
        if entry.op is Op.PUT and entry.weight:
            try:
                prefix, source, _ = _put(roots.key_of(entry.path), sets)
            except ConfigError:  # reported where the entry is resolved
                continue
            if source is OpSource.NEW:
                found.setdefault(owner, {})[number] = f"{prefix}{shard}obj_{NUMBER}"
    return found


def _existing(
    entry: WorkloadOp, pattern: str, sets: tuple[ResolvedSet, ...], problems: ProblemList, *, made: bool
) -> tuple[str, OpSource, tuple[int, ...]]:
    """What GET, STAT and DELETE find: objects of prepare, else what exists already. `made`: PUTs make more of them."""
    if entry.source is KeySource.LIST:
        return pattern, OpSource.LISTED, ()
    deletable = [s for s in sets if s.kind is SetKind.DELETABLE]
    candidates = [s for s in sets if s.kind is not SetKind.DELETABLE]
    if entry.op is Op.DELETE and deletable:
        pattern = pattern.replace("prepared-", "deletable-")
        candidates = deletable
    elif "deletable-" in pattern:
        candidates = list(sets)
    ids = tuple(s.set_id for s in candidates if finds_any(pattern, s))
    if ids:
        return pattern, OpSource.SETS, ids
    if made:
        return pattern, OpSource.LISTED, ()
    covering = [s for s in candidates if s.count and _covers(s, pattern)]
    misplaced = [s for s in candidates if s.prefix and finds_any(s.prefix + pattern, s)]
    what = f"{entry.op.word} {pattern!r}"
    if misplaced and entry.weight:
        message = f"{what} matches nothing: prepare makes such objects under {misplaced[0].prefix!r}"
        problems.error(entry.at, "pattern", message, f"write {misplaced[0].prefix + pattern!r}")
    elif covering and entry.weight:
        message = f"{what} matches nothing that prepare makes under {covering[0].prefix or '/'!r}"
        hint = f"its objects are named like {_example(covering[0])!r}"
        if kind_of(pattern) is PathKind.LEVEL and any(finds_any(f"{pattern}**", s) for s in covering):
            hint = f"that is what stands directly below it; {f'{pattern}**'!r} is everything"
        problems.error(entry.at, "pattern", message, hint)
    elif entry.source is KeySource.PREPARE and entry.weight:
        message = f"{what} matches nothing that prepare makes"
        problems.error(entry.at, "pattern", message, "correct the path, or remove source: prepare")
    else:
        message = f"{what} matches nothing that prepare makes: the objects must exist already"
        problems.warning(entry.at, "pattern", message)
    return pattern, OpSource.LISTED, ()


def _covers(made: ResolvedSet, pattern: str) -> bool:
    """Whether `pattern` looks into the place where the set stands."""
    literal = literal_prefix(pattern)
    return literal.startswith(made.prefix) or made.prefix.startswith(literal)


def _example(made: ResolvedSet) -> str:
    template = made.templates()[0]
    stem, _, last = template.rpartition("-" if made.tree is None else "_")
    numbers = last.replace("\0", "0" * 8)
    return f"{stem}{'-' if made.tree is None else '_'}{numbers}".replace("\0", "1").replace("\1", "00")


def divided_sets(ops: Sequence[ResolvedOp]) -> frozenset[int]:
    """The sets that deletes and other operations use: where they mean the same objects, one half of the set is for
    deletes, so that no other operation meets an object that is gone."""
    deleted: set[int] = set()
    used: set[int] = set()
    for op in ops:
        if op.weight:
            (deleted if op.op is Op.DELETE else used).update(op.set_ids)
    return frozenset(deleted & used)


def _say_what_is_divided(ops: Sequence[ResolvedOp], problems: ProblemList) -> None:
    divided = divided_sets(ops)
    for op in ops:
        if op.op is Op.DELETE and op.weight and divided & set(op.set_ids):
            message = f"where delete {op.pattern!r} and other entries mean the same objects, each has one half of them"
            problems.notice(op.at, "pattern", message, "delete from a base_uri of its own")
