"""Object sets: everything about an object as a function of its index, and the hash of what determines them all."""

from __future__ import annotations

import hashlib
import json
import re

from sai3tui.config.locations import Location
from sai3tui.config.model import Content, SizeSpec
from sai3tui.config.resolved import Resolved, ResolvedSet, SetKind
from sai3tui.workload.names import pool_name
from sai3tui.workload.rng import combine
from sai3tui.workload.sizes import Sizes
from sai3tui.workload.tree import Tree

LAYOUT_VERSION = 1
"""Changes when the same configuration would give other objects."""

_LAST_NUMBER = re.compile(r"(\d{8,19})\.dat", re.ASCII)


class ObjectSet:
    """One object set. Immutable; its memory does not grow with `count`.

    `seed` determines sizes and, with the generation, contents. Keys are relative to an endpoint's root.
    """

    __slots__ = ("count", "resolved", "seed", "set_id", "sizes", "tree")

    def __init__(self, resolved: ResolvedSet, dataset_seed: int) -> None:
        self.resolved = resolved
        self.set_id = resolved.set_id
        self.count = resolved.count
        self.seed = combine(dataset_seed, resolved.set_id)
        self.sizes = Sizes(resolved.size, self.seed)
        self.tree = Tree(resolved.tree) if resolved.tree is not None else None

    @property
    def name(self) -> str:
        return self.resolved.name

    @property
    def prefix(self) -> str:
        return self.resolved.prefix

    @property
    def content(self) -> Content:
        return self.resolved.content

    @property
    def directories(self) -> int:
        return self.resolved.directories

    @property
    def bytes_expected(self) -> int:
        """Bytes of all objects of one index space, from the expected size."""
        return round(self.sizes.mean * self.count)

    def key(self, index: int) -> str:
        """The key of object `index`. Raises IndexError."""
        if self.tree is not None:
            return self.prefix + self.tree.file_path(index)
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.prefix + pool_name(self.resolved.kind.value, index, self.resolved.shards)

    def size(self, index: int) -> int:
        """The size of object `index` in bytes."""
        return self.sizes.size(index)

    def index_of(self, key: str) -> int | None:
        """The index of the object with this key; None if it is not of this set."""
        match = _LAST_NUMBER.search(key, max(0, len(key) - 23))
        if match is None:
            return None
        index = int(match[1])
        return index if index < self.count and self.key(index) == key else None

    def directory(self, number: int) -> str:
        """The key of directory `number` of a tree, with a closing slash. Raises IndexError."""
        if self.tree is None:
            raise IndexError(number)
        return f"{self.prefix}{self.tree.directory(number)}/"

    def to_dict(self) -> dict[str, object]:
        """What determines the objects of the set, for the layout hash and the generation record."""
        made = self.resolved
        return {
            "set": self.set_id,
            "kind": made.kind.value,
            "prefix": made.prefix,
            "count": made.count,
            "size": _size_dict(made.size),
            "fill": made.content.fill.value,
            "dedup_factor": made.content.dedup_factor,
            "compress_factor": made.content.compress_factor,
            "shards": made.shards,
            "tree": _tree_dict(made) if made.kind is SetKind.TREE else None,
        }


def object_sets(resolved: Resolved) -> tuple[ObjectSet, ...]:
    """All object sets; `sets[i].set_id == i`."""
    return tuple(ObjectSet(each, resolved.config.seed) for each in resolved.sets)


def layout_dict(resolved: Resolved) -> dict[str, object]:
    """What determines the objects and where they are: nothing else may change the layout hash."""
    first = resolved.agents[0].endpoints[0].location
    namespace: object = list(first.namespace)
    if not resolved.shared:
        namespace = [[_place(each.location) for each in agent.endpoints] for agent in resolved.agents]
    return {
        "version": LAYOUT_VERSION,
        "seed": resolved.config.seed,
        "shared": resolved.shared,
        "namespace": namespace,
        "sets": [each.to_dict() for each in object_sets(resolved)],
    }


def layout_hash(resolved: Resolved) -> str:
    """16 hexadecimal digits that name the layout; the key of state caches and checkpoints."""
    text = json.dumps(layout_dict(resolved), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _place(location: Location) -> list[object]:
    return [location.scheme, location.host, location.port, location.bucket, location.prefix]


def _size_dict(spec: SizeSpec) -> dict[str, object]:
    found: dict[str, object] = {
        "kind": spec.kind.value,
        "min": spec.minimum,
        "max": spec.maximum,
        "mean": spec.mean,
        "std_dev": spec.std_dev,
    }
    if spec.weighted:
        found["weighted"] = [list(pair) for pair in spec.weighted]
    return found


def _tree_dict(made: ResolvedSet) -> dict[str, object] | None:
    tree = made.tree
    if tree is None:
        return None
    return {
        "width": tree.width,
        "depth": tree.depth,
        "files_per_dir": tree.files_per_dir,
        "distribution": tree.distribution.value,
        "dir_mask": tree.dir_mask,
    }
