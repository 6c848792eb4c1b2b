"""How large objects are and what is in them, in all the dialects it is written in."""

from __future__ import annotations

from sai3tui.config.fields import Block
from sai3tui.config.model import MIB, Content, Fill, SizeKind, SizeSpec, fixed_size
from sai3tui.config.yaml12 import MappingNode, ScalarNode

UNIFORM_DEFAULTS = (1024, MIB)
MAX_WEIGHTED = 1024


def read_content(block: Block, default: Content) -> Content:
    fill = block.choice("fill", of=Fill, default=default.fill)
    dedup = block.count("dedup_factor", default=default.dedup_factor)
    compress = block.count("compress_factor", default=default.compress_factor)
    return Content(fill, dedup, compress)


def read_size(block: Block, plain: str = "") -> SizeSpec | None:
    """The sizes under `size_spec`, else the plain size under `plain`, else None."""
    node = block.get("size_spec")
    if node is None:
        size = block.size(plain, default=None) if plain else None
        return None if size is None else fixed_size(size)
    if isinstance(node, ScalarNode):
        size = block.size("size_spec", default=None)
        return None if size is None else fixed_size(size)
    if isinstance(node, MappingNode):
        spec = block.block("size_spec")
        return None if spec is None else _read_size_map(spec)
    block.wrong("size_spec", node, "a size, or a mapping with type, min, max, mean, std_dev")
    return None


def _read_size_map(spec: Block) -> SizeSpec | None:
    for kind in SizeKind:
        # {fixed: 32KB} and {uniform: {min: 1KB, max: 4KB}}, as the predecessor's documents write it
        if not spec.has("type") and spec.has(kind.value):
            if kind in (SizeKind.FIXED, SizeKind.WEIGHTED):
                return _read_sized(spec, kind)
            inner = spec.block(kind.value)
            spec.finish()
            return None if inner is None else _read_sized(inner, kind)
    if not spec.require("type"):
        return None
    named = spec.choice("type", of=SizeKind, default=None)
    return None if named is None else _read_sized(spec, named)


def _read_sized(spec: Block, kind: SizeKind) -> SizeSpec | None:
    match kind:
        case SizeKind.FIXED:
            size = None
            if spec.require("size", "fixed"):
                size = spec.size("size" if spec.has("size") else "fixed", default=None)
            spec.finish()
            return None if size is None else fixed_size(size)
        case SizeKind.WEIGHTED:
            return _read_weighted(spec)
        case SizeKind.UNIFORM | SizeKind.LOGNORMAL:
            return _read_between(spec, kind)


def _read_between(spec: Block, kind: SizeKind) -> SizeSpec | None:
    lognormal = kind is SizeKind.LOGNORMAL
    minimum = spec.size("min", default=1 if lognormal else UNIFORM_DEFAULTS[0])
    maximum = spec.size("max", default=0 if lognormal else UNIFORM_DEFAULTS[1])
    mean = spec.size("mean", default=0) if lognormal and spec.require("mean") else 0
    deviation = spec.size("std_dev", default=0) if lognormal and spec.require("std_dev") else 0
    spec.finish()
    if maximum and minimum > maximum:
        spec.error(spec.position_of("min"), "range", f"{spec.name}: min {minimum} is above max {maximum}")
        return None
    if lognormal and not (mean and deviation):
        return None
    return SizeSpec(kind, minimum, maximum, mean, deviation)


def _read_weighted(spec: Block) -> SizeSpec | None:
    found: list[tuple[int, int]] = []
    spec.require("weighted")
    for item in spec.blocks("weighted"):
        size = item.size("size", default=None) if item.require("size") else None
        weight = item.count("weight", default=None) if item.require("weight") else None
        item.finish()
        if size is not None and weight is not None:
            found.append((size, weight))
    spec.finish()
    drawn = [size for size, weight in found if weight]
    if not drawn or len(found) > MAX_WEIGHTED:
        if spec.has("weighted"):
            message = f"{spec.path_of('weighted')} needs 1 to {MAX_WEIGHTED} sizes, one of them with a weight above 0"
            spec.error(spec.position_of("weighted"), "range", message)
        return None
    if len(drawn) == 1:
        return fixed_size(drawn[0])
    return SizeSpec(SizeKind.WEIGHTED, min(drawn), max(drawn), weighted=tuple(found))
