"""The operations a workload can name, and the three columns groups that result files know."""

from __future__ import annotations

from enum import IntEnum


class Op(IntEnum):
    """An operation on the storage under test. The value is its index in histograms and on the wire."""

    GET = 0
    PUT = 1
    LIST = 2
    STAT = 3
    DELETE = 4
    MKDIR = 5
    RMDIR = 6

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def group(self) -> str:
        """`get`, `put` or `meta`: the three groups of perf-log columns."""
        return GROUPS[min(self, META)]


OPS = tuple(Op)
GROUPS = ("get", "put", "meta")
META = 2
"""The first operation of the third group, which all further ones belong to."""
