"""What does not fit in a results directory: its figures may not be those of the run, and whoever reads them is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sai3tui.results.events_log import parse_event
from sai3tui.results.files import utc_text
from sai3tui.results.manifest import changes
from sai3tui.results.metadata import ReadMeta
from sai3tui.results.record_file import Condition
from sai3tui.results.totals import stored_until
from sai3tui.results.views import StageView

COUNTS = (("ops", "operations"), ("bytes", "bytes"), ("errors", "errors"))
MOST_NUMBERS = 3
EDITED = "metadata.json was changed after it was written"


def doubts(
    path: Path, read: ReadMeta, stages: Iterable[StageView], metrics: Condition, last_ns: int
) -> tuple[str, ...]:
    """Sentences; none if all fits. `metrics`: how the file was found that the figures are of, `last_ns` when the last
    report in it ended."""
    found = [*metrics.damage, *([EDITED] if read.edited else [])]
    found += [f"{name} is missing" for name in ("events.jsonl", "metrics.zst") if not (path / name).is_file()]
    found += _events(path / "events.jsonl", metrics.number, ended=read.outcome is not None)
    if read.outcome is not None:
        found += changes(path, read.files)
        found += _totals(read, stages)
    else:
        found += _broken_off(path, read, last_ns)
    return tuple(dict.fromkeys(found))


def _events(path: Path, known: int, *, ended: bool) -> Iterator[str]:
    """`known`: how many lines there were at some time."""
    try:
        with path.open("rb") as file:
            lines = list(enumerate(file, 1))
    except OSError:
        return
    broken = [number for number, line in lines if parse_event(line) is None]
    if broken and not ended and not lines[-1][1].endswith(b"\n"):
        # A writer that was killed leaves half a line.
        broken.pop()
    if broken:
        more = f" and {len(broken) - MOST_NUMBERS} more" if len(broken) > MOST_NUMBERS else ""
        numbers = ", ".join(str(number) for number in broken[:MOST_NUMBERS])
        yield f"events.jsonl: line {numbers}{more} is no event that this version knows, or was changed, and is left out"
    if len(lines) < known:
        yield f"events.jsonl has {len(lines)} lines where there were {known}"


def _totals(read: ReadMeta, stages: Iterable[StageView]) -> Iterator[str]:
    """Those in metadata.json, which were written when the run ended, against the run log."""
    totals = {each.get("index"): each for each in read.stages}
    for stage in stages:
        known = totals.get(stage.index, {})
        for key, word in COUNTS:
            now = {"ops": stage.total_ops, "bytes": stage.total_bytes, "errors": stage.errors}[key]
            if known.get(key) != now:
                yield (
                    f"stage {stage.index} {stage.name}: {known.get(key)} {word} by metadata.json, {now} by the run log:"
                    " reports are missing, or one of them was damaged or edited"
                )


def _broken_off(path: Path, read: ReadMeta, last_ns: int) -> Iterator[str]:
    """Whether more is missing than a controller that is killed leaves unwritten: its files break off together."""
    wanted = read.meta.passport.get("config_sha256")
    try:
        if wanted and hashlib.sha256((path / "config.yaml").read_bytes()).hexdigest() != wanted:
            yield "config.yaml is not what was run"
        size = (path / "metrics.zst").stat().st_size
    except OSError:
        # What is missing is told elsewhere.
        return
    stored = stored_until(path)
    if size < stored.metrics_bytes:
        yield f"metrics.zst breaks off after {size} bytes, where {stored.metrics_bytes} were written"
    elif last_ns < stored.last_ns:
        reached = f"at {utc_text(last_ns)}" if last_ns else "before the first report"
        yield f"metrics.zst breaks off {reached}, but by seconds.zst the run went on until {utc_text(stored.last_ns)}"
