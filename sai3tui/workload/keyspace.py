"""What the data plane needs to know about a set of objects: names and sizes as functions of the index."""

from __future__ import annotations

from typing import Protocol


class KeySpace(Protocol):
    """Objects (or directories, for LIST) by index. Implementations are immutable, small and picklable: a worker
    process gets one of its own. Keys are relative to the endpoint's prefix, sizes are bytes."""

    def key(self, index: int) -> str: ...

    def size(self, index: int) -> int: ...
