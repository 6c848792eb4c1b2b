"""`sai3tui results list|show`: finished runs, read from their directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from sai3tui.config.units import format_count_short, format_duration
from sai3tui.errors import ErrorKind, Sai3Error, printable
from sai3tui.results.caveats import caveats, open_end_text
from sai3tui.results.describe import failure_lines
from sai3tui.results.figures import stage_json
from sai3tui.results.files import utc_text
from sai3tui.results.json_text import json_text
from sai3tui.results.metadata import failure_json
from sai3tui.results.reader import NAME_PATTERN, UNFINISHED, RunEntry, RunFilter, RunRecord, list_runs, load_run
from sai3tui.results.status import stage_notes, stage_table
from sai3tui.results.threshold_text import threshold_json, threshold_table

EXIT_OK = 0
EXIT_DOUBTFUL = 1
"""It is shown, but files of the run are not as they were written."""


def list_results(root: Path, json: bool, out: TextIO, wanted: RunFilter | None = None) -> int:
    """The runs below `root`, the newest first; broken directories with what is wrong with them, if all are `wanted`.
    Raises Sai3Error if there is no such directory."""
    if not root.is_dir():
        raise Sai3Error(f"there is no directory {root}", kind=ErrorKind.CONFIG)
    entries = list_runs(root)
    shown = [entry for entry in entries if wanted is None or wanted.takes(entry)]
    if json:
        document = {"runs": [_entry_json(entry) for entry in shown]}
        out.write(json_text(document, indent=2) + "\n")
        return EXIT_OK
    if not shown:
        out.write(printable(_nothing(root, len(entries))) + "\n")
    for line in _entry_lines([entry for entry in shown if not entry.problem]):
        out.write(printable(line) + "\n")
    for entry in shown:
        if entry.problem or entry.doubt:
            text = f"cannot be opened: {entry.problem}" if entry.problem else f"caution: {entry.doubt}"
            out.write(printable(f"{entry.name}  {text}") + "\n")
    return EXIT_OK


def _nothing(root: Path, others: int) -> str:
    if others:
        return f"none of the {others} runs in {root} is wanted"
    if (root / "metadata.json").is_file():
        return f"{root} is a run itself: sai3tui results show {root}"
    return f"no runs in {root}: they are directories named {NAME_PATTERN}"


def show_results(path: Path, json: bool, out: TextIO) -> int:
    """One run, stage by stage. Raises Sai3Error if the directory cannot be read as one."""
    record = load_run(path)
    if json:
        out.write(json_text(_record_json(record), indent=2) + "\n")
    else:
        out.write(printable("\n".join(_record_lines(record)), lines=True) + "\n")
    return EXIT_DOUBTFUL if record.doubts else EXIT_OK


def _entry_lines(entries: Sequence[RunEntry]) -> list[str]:
    """Aligned columns with a header; nothing without runs."""
    header = ("run", "ended", "took", "agents", "ops", "errors")
    rows = [header if entries else (), *map(_entry_cells, entries)]
    widths = [max(map(len, column)) for column in zip(*filter(None, rows), strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
        if row
    ]


def _is_counted(entry: RunEntry) -> bool:
    """Whether its directory tells what it did without being read whole: one that never ended has no totals."""
    return entry.status != UNFINISHED or entry.operations > 0


def _entry_cells(entry: RunEntry) -> tuple[str, ...]:
    counts = (entry.operations, entry.errors)
    return (
        entry.name,
        entry.status.replace("_", " "),
        format_duration(entry.seconds) if entry.seconds else "",
        str(entry.agents),
        *(format_count_short(count) if _is_counted(entry) else "?" for count in counts),
    )


def _entry_json(entry: RunEntry) -> dict[str, Any]:
    document = asdict(entry) | {"path": str(entry.path)}
    if not _is_counted(entry):
        document |= dict.fromkeys(("operations", "bytes", "errors"))
    del document["started_ns"]
    document["started"] = utc_text(entry.started_ns) if entry.started_ns else None
    return document


def _record_lines(record: RunRecord) -> list[str]:
    outcome = record.outcome
    never = "still going on" if record.live else "never ended"
    ended = f"{outcome.status.replace('_', ' ')}, exit code {outcome.exit_code}" if outcome else never
    lines = [
        f"run {record.meta.run_id} of {record.meta.config_name}: {ended}",
        f"started {utc_text(record.meta.started_ns)} on {', '.join(agent.id for agent in record.meta.agents)}",
        *(f"caution: {doubt}" for doubt in record.doubts),
        *([open_end_text(record)] if outcome is None else []),
        "",
        *stage_table(record.stages),
        *stage_notes(record.stages),
        *(["", *threshold_table(record.thresholds)] if record.thresholds else []),
    ]
    if outcome is not None and outcome.failure is not None:
        lines += ["", *failure_lines(outcome.failure)]
    for group in record.failures:
        lines += ["", f"{group.count} x {group.sample.sentence()} ({', '.join(group.agents) or 'controller'})"]
    if outcome is not None and outcome.resume:
        lines += ["", f"to go on where it stopped: {outcome.resume}"]
    return lines


def _record_json(record: RunRecord) -> dict[str, Any]:
    outcome = record.outcome
    return {
        "run_id": record.meta.run_id,
        "config": record.meta.config_name,
        "path": str(record.path),
        "started": utc_text(record.meta.started_ns),
        "status": outcome.status if outcome else UNFINISHED,
        "exit": outcome.exit_code if outcome else None,
        "failure": failure_json(outcome.failure) if outcome and outcome.failure else None,
        "caveats": [{"weight": each.weight.value, "text": each.text} for each in caveats(record)],
        "agents": [asdict(agent) for agent in record.meta.agents],
        "stages": [stage_json(stage) for stage in record.stages],
        "thresholds": [threshold_json(view) for view in record.thresholds],
        "failures": [
            {"count": group.count, "agents": list(group.agents), "sample": failure_json(group.sample)}
            for group in record.failures
        ],
        "files": list(record.files),
    }
