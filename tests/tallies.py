"""What the long suites found, added up over all tests and processes and printed at the end of a test run."""

from __future__ import annotations

from collections.abc import Iterable


def tally(properties: Iterable[tuple[str, object]]) -> list[str]:
    """A line for each name of what tests gave `record_property` as whole numbers: how many, their sum and the most."""
    found: dict[str, list[int]] = {}
    for name, value in properties:
        if isinstance(value, int):
            found.setdefault(name, []).append(value)
    return [line(name, values) for name, values in found.items()]


def line(name: str, values: list[int]) -> str:
    return f"{name}: {sum(values):,} in {len(values)} tests, {max(values):,} in one at the most"
