"""`sai3tui results compare`: runs against the first of them, in a table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from sai3tui.errors import printable
from sai3tui.results.compare import CONFIDENCE, Difference
from sai3tui.results.compared import Comparison, compare_runs, earlier_runs, load_for_comparison
from sai3tui.results.figures import MIB
from sai3tui.results.json_text import json_text

EXIT_OK = 0
EXIT_DOUBTFUL = 1
"""They are compared, but files of a run are not as they were written."""


def compare_results(first: Sequence[Path], others: Sequence[Sequence[Path]], json: bool, out: TextIO) -> int:
    """Each of the other sides with the first one, of one run or more. Raises Sai3Error if a run cannot be read, or has
    nothing in common with the first."""
    base = [load_for_comparison(path) for path in first]
    sides = [[load_for_comparison(path) for path in side] for side in others]
    before = earlier_runs([*base, *(run for side in sides for run in side)])
    comparisons = [compare_runs(base, side, before) for side in sides]
    if json:
        document = {"confidence": CONFIDENCE, "comparisons": [_json(comparison) for comparison in comparisons]}
        out.write(json_text(document, indent=2) + "\n")
    else:
        text = "\n\n".join("\n".join(_lines(comparison)) for comparison in comparisons)
        out.write(printable(text, lines=True) + "\n")
    return (
        EXIT_DOUBTFUL
        if any(run.doubts for each in comparisons for run in (each.first, each.second, *each.also))
        else EXIT_OK
    )


def _json(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": str(comparison.first.path),
        "second": str(comparison.second.path),
        "verdict": comparison.verdict.value,
        "stages": [
            {
                "stage": row.stage,
                "op": row.op.word,
                "verdict": row.verdict.value,
                "metrics": [_difference_json(difference) for difference in row.differences],
            }
            for row in comparison.rows
        ],
        "also": [str(record.path) for record in comparison.also],
        "basis": comparison.basis,
        "caveats": list(comparison.caveats),
        "config_difference": list(comparison.config),
        "passport_differences": [{"fact": f, "first": a, "second": b} for f, a, b in comparison.passport],
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    """Shares are fractions of the first run's value; bounds are null where there are too few intervals."""
    known = math.isfinite(difference.low)
    return {
        "metric": difference.metric if difference.metric.endswith("_per_s") else f"{difference.metric}_us",
        "first": round(difference.first, 3),
        "second": round(difference.second, 3),
        "difference": round(difference.share, 6),
        "low": round(difference.low, 6) if known else None,
        "high": round(difference.high, 6) if known else None,
        "verdict": difference.verdict.value,
    }


def _lines(comparison: Comparison) -> list[str]:
    lines = [
        f"first:  {comparison.first.path}",
        f"second: {comparison.second.path}",
        f"verdict: the second is {comparison.verdict.value}"
        if comparison.verdict.value in ("better", "worse")
        else f"verdict: {comparison.verdict.value}",
        *(f"also:   {record.path}" for record in comparison.also),
        f"  {comparison.basis}",
        *(f"  caution: {caveat}" for caveat in comparison.caveats),
        "",
    ]
    header = ("stage", "op", "metric", "first", "second", "difference", f"{CONFIDENCE:.0%} interval", "verdict")
    table = [header]
    for row in comparison.rows:
        table += [(row.stage, row.op.word, *_cells(difference)) for difference in row.differences]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(header))]
    for cells in table:
        aligned = [
            cell.rjust(width) if column in (3, 4, 5, 6) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(aligned).rstrip())
    lines += ["", "differences of the configuration:", *(f"  {line}" for line in comparison.config or ("none",))]
    facts = [f"{fact}: {a or '(nothing)'} -> {b or '(nothing)'}" for fact, a, b in comparison.passport]
    lines += ["differences of hosts and versions:", *(f"  {line}" for line in facts or ("none",))]
    return lines


def _cells(difference: Difference) -> tuple[str, str, str, str, str, str]:
    scale, name = {"ops_per_s": (1.0, "ops/s"), "bytes_per_s": (MIB, "MiB/s")}.get(
        difference.metric, (1000.0, f"{difference.metric} ms")
    )
    interval = ""
    if math.isfinite(difference.low):
        interval = f"{difference.low:+.1%} .. {difference.high:+.1%}"
    return (
        name,
        f"{difference.first / scale:.2f}",
        f"{difference.second / scale:.2f}",
        f"{difference.share:+.1%}",
        interval,
        difference.verdict.value,
    )
