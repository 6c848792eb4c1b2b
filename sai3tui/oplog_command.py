"""`sai3tui oplog sort|merge|stats`: logs of every operation, ours and those of warp and sai3-bench."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from sai3tui.errors import ResourceError
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.json_text import json_text
from sai3tui.results.oplog import OplogProblem, read_oplog
from sai3tui.results.oplog_sort import sort_oplogs
from sai3tui.results.oplog_stats import OplogFigures, oplog_figures

EXIT_OK = 0
EXIT_FAILED = 1
MOST_TOLD = 20


class _Problems:
    """Tells the first problems one by one, and counts the rest."""

    def __init__(self, err: TextIO) -> None:
        self.count = 0
        self._err = err

    def __call__(self, problem: OplogProblem) -> None:
        self.count += 1
        if self.count <= MOST_TOLD:
            self._err.write(f"sai3tui: {problem}\n")

    def told(self) -> int:
        """The exit code."""
        if self.count > MOST_TOLD:
            self._err.write(f"sai3tui: and {self.count - MOST_TOLD} more problems\n")
        return EXIT_FAILED if self.count else EXIT_OK


def sort_oplog(paths: Sequence[Path], output: Path, out: TextIO, err: TextIO) -> int:
    """All rows of `paths` into `output`, by their start. Raises ResourceError if a file cannot be read or written."""
    problems = _Problems(err)
    try:
        count = sort_oplogs(paths, output, problems)
    except OSError as error:
        raise _failed(error, output) from error
    out.write(f"{output}: {count} operations\n")
    return problems.told()


def oplog_stats(paths: Sequence[Path], by: str, json: bool, out: TextIO, err: TextIO) -> int:
    """Figures of all rows of `paths`. Raises ResourceError if a file cannot be read."""
    problems = _Problems(err)
    try:
        groups = oplog_figures(chain.from_iterable(read_oplog(path, problems) for path in paths), by)
    except OSError as error:
        raise _failed(error, paths[0]) from error
    if json:
        rows = [{"op": op, **({by: name} if by else {}), **_json(figures)} for (op, name), figures in groups.items()]
        out.write(json_text({"problems": problems.count, "rows": rows}, indent=2) + "\n")
    else:
        out.write("\n".join(_lines(groups, by)) + "\n")
    return problems.told()


def _json(figures: OplogFigures) -> dict[str, Any]:
    """Latencies in µs; rates over the time from the first start to the last end."""
    document: dict[str, Any] = {
        "ops": figures.ops,
        "errors": figures.errors,
        "objects": figures.objects,
        "bytes": figures.bytes,
        "seconds": round(figures.seconds, 6),
        "ops_per_s": round(per_second(figures.ops, figures.seconds), 3),
        "mib_per_s": round(per_second(figures.bytes, figures.seconds) / MIB, 3),
        "mean_us": round(figures.service.mean_us, 1),
    }
    for name, histogram in (("", figures.service), ("ttfb_", figures.ttfb)):
        for label, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            document[f"{name}{label}_us"] = round(histogram.percentile_us(q), 1) if histogram.count else None
    document["max_us"] = figures.service.max_us
    return document


def _lines(groups: dict[tuple[str, str], OplogFigures], by: str) -> list[str]:
    header = ["op", "ops", "errors", "MiB", "seconds", "ops/s", "MiB/s", "p50 ms", "p99 ms", "max ms", "TTFB p50 ms"]
    table = [[*header[:1], *([by] if by else []), *header[1:]]]
    for (op, name), f in groups.items():
        table.append(
            [
                op,
                *([name] if by else []),
                str(f.ops),
                str(f.errors),
                f"{f.bytes / MIB:.1f}",
                f"{f.seconds:.2f}",
                f"{per_second(f.ops, f.seconds):.1f}",
                f"{per_second(f.bytes, f.seconds) / MIB:.1f}",
                f"{f.service.percentile_us(0.5) / 1000:.2f}",
                f"{f.service.percentile_us(0.99) / 1000:.2f}",
                f"{f.service.max_us / 1000:.2f}",
                f"{f.ttfb.percentile_us(0.5) / 1000:.2f}" if f.ttfb.count else "",
            ]
        )
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    words = 2 if by else 1
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _failed(error: OSError, path: Path) -> ResourceError:
    where = error.filename or path
    return ResourceError(f"{where}: {error.strerror or error}", hint="check the name, permissions and free space")
