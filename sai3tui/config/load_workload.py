"""The blocks that say what is done and to what: `workload`, `prepare`, `io_rate`, `error_handling`."""

from __future__ import annotations

import math
from enum import StrEnum

from sai3tui.config.fields import Block, describe
from sai3tui.config.load_sizes import read_content, read_size
from sai3tui.config.model import (
    DEFAULT_DIR_MASK,
    DEFAULT_ZIPF_EXPONENT,
    MIB,
    ArrivalKind,
    CleanupMode,
    Content,
    DirectoryStructure,
    Distribution,
    EnsureObjects,
    ErrorHandling,
    IoRate,
    KeySource,
    Popularity,
    Prepare,
    PrepareStrategy,
    ReadRange,
    SizeKind,
    SizeSpec,
    WorkloadOp,
    fixed_size,
)
from sai3tui.config.ops import Op
from sai3tui.config.units import UnitError, parse_count
from sai3tui.config.yaml12 import ScalarNode

MAX_TREE = 2**62


class _OpWord(StrEnum):
    GET = "get"
    PUT = "put"
    LIST = "list"
    STAT = "stat"
    DELETE = "delete"
    MKDIR = "mkdir"
    RMDIR = "rmdir"


def read_workload(parent: Block) -> tuple[WorkloadOp, ...]:
    """All entries of `workload` that can be read."""
    return tuple(op for block in parent.blocks("workload") if (op := _read_op(block)) is not None)


def _read_op(block: Block) -> WorkloadOp | None:
    word = block.choice("op", of=_OpWord, default=None) if block.require("op") else None
    weight = block.count("weight", default=0) if block.require("weight") else 0
    path = block.text("path", default=None)
    size = read_size(block, "object_size")
    found = WorkloadOp(
        Op.GET if word is None else Op[word.name],
        weight,
        path or "",
        size if word is _OpWord.PUT else None,
        read_content(block, Content()),
        block.count("concurrency", default=None),
        block.boolean("recursive", default=False),
        block.position_of("path"),
        read_io_rate(block),
        block.boolean("verify", default=False),
        _read_range(block),
        block.size("part_size", default=0),
        block.count("delete_many", default=1),
        block.choice("source", of=KeySource, default=KeySource.AUTO),
        block.choice("popularity", of=Popularity, default=Popularity.UNIFORM),
        block.number("zipf_exponent", default=DEFAULT_ZIPF_EXPONENT),
    )
    block.finish("" if word is None else word.value)
    if word is None:
        return None
    if path is None and word is not _OpWord.PUT:
        block.require("path")
    if word is _OpWord.PUT and size is None:
        if not block.has("size_spec") and not block.has("object_size"):
            message = f"{block.name} is a put without a size"
            block.error(block.at, "required", message, "add object_size: 1MiB, or size_spec:")
        return None
    return found


def _read_range(parent: Block) -> ReadRange | None:
    block = parent.block("range")
    if block is None:
        return None
    size = block.size("size", default=None) if block.require("size") else None
    align = block.size("align", default=1)
    block.finish()
    return None if size is None else ReadRange(size, align)


def read_prepare(top: Block) -> Prepare | None:
    block = top.block("prepare")
    if block is None:
        return None
    tree = _read_tree(block)
    content, size = _read_prepare_defaults(block)
    entries = tuple(
        entry for item in block.blocks("ensure_objects") if (entry := _read_ensure(item, content, size)) is not None
    )
    if block.has("directory_structure") and not block.items("ensure_objects"):
        message = "directory_structure requires at least one ensure_objects entry"
        block.error(block.position_of("directory_structure"), "required", message, "add ensure_objects: [{count: 0}]")
    if tree is not None:
        entries = tuple(_check_count(block, entry, tree) for entry in entries)
    prepare = Prepare(
        entries,
        tree,
        block.choice("prepare_strategy", of=PrepareStrategy, default=PrepareStrategy.SEQUENTIAL),
        block.boolean("skip_verification", default=False),
        block.boolean("force_overwrite", default=False),
        block.boolean("cleanup", default=False),
        block.boolean("cleanup_only", default=False),
        block.choice("cleanup_mode", of=CleanupMode, default=CleanupMode.TOLERANT),
        block.seconds("post_prepare_delay", default=0.0),
        block.count("key_prefix_shards", default=0),
        block.at,
        block.boolean("verify", default=False),
        block.size("part_size", default=0),
    )
    block.finish()
    return prepare


def _read_prepare_defaults(block: Block) -> tuple[Content, SizeSpec | None]:
    """Content and size written beside `ensure_objects` instead of in it: taken as defaults of all entries."""
    content = read_content(block, Content())
    size = read_size(block)
    for name in ("fill", "dedup_factor", "compress_factor", "size_spec"):
        if block.has(name):
            message = f"prepare.{name} is taken for every entry of ensure_objects that has none"
            block.problems.notice(block.position_of(name), "assumed", message)
    return content, size


def _read_ensure(block: Block, content: Content, default_size: SizeSpec | None) -> EnsureObjects | None:
    count = block.count("count", default=None) if block.require("count") else None
    base = block.placed("base_uri")
    size = read_size(block, "object_size")
    if size is None and (block.has("min_size") or block.has("max_size")):
        low = block.size("min_size", default=None)
        high = block.size("max_size", default=None)
        given = [size for size in (low, high) if size is not None] or [MIB]
        low, high = (min(MIB, *given) if low is None else low), (max(MIB, *given) if high is None else high)
        if low > high:
            block.error(
                block.position_of("min_size"), "range", f"{block.name}: min_size {low} is above max_size {high}"
            )
            high = low
        size = fixed_size(low) if low == high else SizeSpec(SizeKind.UNIFORM, low, high)
    made = read_content(block, content)
    block.finish()
    if count is None:
        return None
    return EnsureObjects(count, base, size or default_size or fixed_size(MIB), made, block.at)


def _read_tree(prepare: Block) -> DirectoryStructure | None:
    block = prepare.block("directory_structure")
    if block is None:
        return None
    before = prepare.problems.has_errors
    width = block.count("width", default=1) if block.require("width") else 1
    depth = block.count("depth", default=1) if block.require("depth") else 1
    files = block.count("files_per_dir", default=0)
    spread = block.choice("distribution", of=Distribution, default=Distribution.BOTTOM)
    mask = block.text("dir_mask", default=DEFAULT_DIR_MASK)
    block.finish()
    if (width > 1 and mask.count("%d") < 2) or "/" in mask or mask in ("", ".", ".."):
        message = f"{block.name}.dir_mask {mask!r} does not name directories apart"
        block.error(
            block.position_of("dir_mask"), "range", message, "write two %d: level and number, as in d%d_w%d.dir"
        )
    if depth * math.log2(width) > 62 or width**depth * 2 * max(1, files) > MAX_TREE:
        message = f"directory tree size overflow: width {width}, depth {depth}, {files} files in each"
        block.error(block.at, "range", message, "make it smaller")
        return None
    if prepare.problems.has_errors and not before:
        return None
    return DirectoryStructure(width, depth, files, spread, mask, block.at)


def _check_count(block: Block, entry: EnsureObjects, tree: DirectoryStructure) -> EnsureObjects:
    if entry.count not in (0, tree.files):
        message = f"ensure_objects.count ({entry.count}) does not match directory tree total files ({tree.files})"
        block.error(entry.at, "count", message, f"set count to {tree.files}, or to 0 to have it calculated")
    return entry


def read_io_rate(top: Block) -> IoRate | None:
    block = top.block("io_rate")
    if block is None:
        return None
    iops = 0
    node = block.get("iops")
    if block.require("iops") and node is not None:
        value = node.value if isinstance(node, ScalarNode) else None
        unlimited = isinstance(value, str) and value.lower() in ("max", "unlimited")
        negative = isinstance(value, int | float) and not isinstance(value, bool) and value <= 0
        if not unlimited and not negative:
            try:
                iops = parse_count(value) if isinstance(value, int | float | str) else -1
            except UnitError:
                iops = -1
            if iops < 0 or isinstance(value, bool):
                block.error(node.at, "unit", f"invalid IOPS value: {describe(node)}", "write a number, or max")
                iops = 0
    rate = IoRate(iops, block.choice("distribution", of=ArrivalKind, default=ArrivalKind.EXPONENTIAL))
    block.finish()
    return rate


def read_error_handling(top: Block) -> ErrorHandling:
    block = top.block("error_handling")
    if block is None:
        return ErrorHandling()
    default = ErrorHandling()
    initial = block.number("initial_retry_delay_ms", default=default.initial_retry_delay * 1000)
    longest = block.number("max_retry_delay_ms", default=default.max_retry_delay * 1000)
    found = ErrorHandling(
        block.count("max_total_errors", default=default.max_total_errors),
        block.number("error_rate_threshold", default=default.error_rate_threshold),
        block.seconds("backoff_duration", default=default.backoff_duration),
        block.seconds("error_rate_window", default=default.error_rate_window),
        block.boolean("retry_on_error", default=default.retry_on_error),
        block.count("max_retries", default=default.max_retries),
        initial / 1000,
        longest / 1000,
        block.number("retry_backoff_multiplier", default=default.retry_backoff_multiplier),
        block.number("retry_jitter_factor", default=default.retry_jitter_factor),
    )
    block.finish()
    return found
