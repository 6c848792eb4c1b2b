"""What does not fit in a results directory: its figures may not be those of the run, and whoever reads them is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sai3tui.results.events_log import parse_event
from sai3tui.results.views import StageView

COUNTS = (("ops", "operations"), ("bytes", "bytes"), ("errors", "errors"))
MOST_NUMBERS = 3


def doubts(
    path: Path, written: Sequence[Mapping[str, Any]], stages: Iterable[StageView], *, ended: bool
) -> tuple[str, ...]:
    """Sentences; none if all fits. `written` are the stages of metadata.json, which hold totals once a run has `ended`:
    one whose controller was killed has files that break off, and none of this is said of it."""
    if not ended:
        return ()
    found = [f"{name} is missing" for name in ("events.jsonl", "metrics.zst") if not (path / name).is_file()]
    lines = _broken_lines(path / "events.jsonl")
    if lines:
        more = f" and {len(lines) - MOST_NUMBERS} more" if len(lines) > MOST_NUMBERS else ""
        numbers = ", ".join(str(number) for number in lines[:MOST_NUMBERS])
        found.append(f"events.jsonl: line {numbers}{more} is no event that this version knows, and is left out")
    totals = {each.get("index"): each for each in written}
    for stage in stages:
        known = totals.get(stage.index, {})
        for key, word in COUNTS:
            now = {"ops": stage.total_ops, "bytes": stage.total_bytes, "errors": stage.errors}[key]
            if known.get(key) != now:
                found.append(
                    f"stage {stage.index} {stage.name}: {known.get(key)} {word} by metadata.json, {now} by the run log:"
                    " reports are missing, or one of them was damaged or edited"
                )
    return tuple(found)


def _broken_lines(path: Path) -> list[int]:
    try:
        with path.open("rb") as file:
            return [number for number, line in enumerate(file, 1) if parse_event(line) is None]
    except OSError:
        return []
