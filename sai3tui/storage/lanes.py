"""Dealing connections over endpoints."""

from __future__ import annotations

from collections.abc import Sequence


def deal(connections: Sequence[int]) -> list[int]:
    """The endpoint of every connection, interleaved: [2, 1] gives [0, 1, 0]."""
    rounds = max(connections, default=0)
    return [endpoint for turn in range(rounds) for endpoint, count in enumerate(connections) if turn < count]
