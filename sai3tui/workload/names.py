"""Names of objects outside trees."""

from __future__ import annotations

from sai3tui.workload.rng import MASK, splitmix64


def pool_name(pool: str, index: int, shards: int = 0) -> str:
    """`prepared-00000007.dat` or `deletable-...`, below its shard if there are shards: `a1/prepared-00000161.dat`."""
    name = f"{pool}-{index:08d}.dat"
    return f"{shard_name(index, shards)}/{name}" if shards else name


def shard_name(number: int, shards: int) -> str:
    """The shard of `number`: two hexadecimal digits or more."""
    return f"{number % shards:02x}"


def new_name(state: int, sequence: int, shards: int = 0, kind: str = "obj") -> str:
    """The name of the object that PUT number `sequence` of a slot makes in a stage: `obj_<u64>`, below its shard.
    `state` is `combine(seed, stage, slot)`, which is the same for all; `kind` stands in place of `obj`."""
    return _named(splitmix64(state ^ sequence), shards, kind)


def is_new_name(name: str, shards: int = 0) -> bool:
    """Whether `name` has the form of what `new_name` gives to objects."""
    digits = name.rpartition("obj_")[2]
    number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 20 else -1
    return 0 <= number <= MASK and name == _named(number, shards, "obj")


def _named(number: int, shards: int, kind: str) -> str:
    name = f"{kind}_{number}"
    return f"{shard_name(number, shards)}/{name}" if shards else name
