"""Op-logs of any size and disorder into one that is sorted by start: sorted runs on disk, then merged."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sai3tui.errors import ResourceError
from sai3tui.results.oplog import OnProblem, OplogProblem, OplogWriter, OpRow, read_oplog

RUN_ROWS = 100_000
"""Rows that are held in memory at once: about 60 MB."""
MOST_RUNS = 64
"""Files that are merged at once."""


def sort_oplogs(paths: Sequence[Path], output: Path, on_problem: OnProblem, *, run_rows: int = RUN_ROWS) -> int:
    """Write the rows of all `paths`, sorted by their start, to `output`; returns how many there are.

    The output appears when it is whole; it may be one of the inputs, if all of these can be read to their ends. Raises
    OSError; ResourceError if nothing was written, as there is no operation or as an input would have been cut.
    """
    broken: list[OplogProblem] = []

    def problem(found: OplogProblem) -> None:
        broken.append(found)
        on_problem(found)

    rows = itertools.chain.from_iterable(read_oplog(path, problem) for path in paths)
    draft = output.with_name(f".{output.name}.new")
    with tempfile.TemporaryDirectory(prefix=".oplog-", dir=output.parent) as directory:
        runs = _runs(rows, Path(directory), run_rows)
        while len(runs) > MOST_RUNS:
            runs = [
                _merge(runs[first : first + MOST_RUNS], Path(directory) / f"merged-{len(runs)}-{first}", on_problem)
                for first in range(0, len(runs), MOST_RUNS)
            ]
        try:
            with OplogWriter(draft) as writer:
                for row in _merged(runs, on_problem):
                    writer.write(row)
            if broken and not writer.count:
                raise ResourceError(f"{broken[0].path} holds no operation, so {output} was not written")
            if broken and any(output.exists() and path.samefile(output) for path in paths):
                hint = "name another file with -o"
                raise ResourceError(f"{output} is not whole, and was left as it is", hint=hint)
            draft.replace(output)
        finally:
            draft.unlink(missing_ok=True)
    return writer.count


def _runs(rows: Iterable[OpRow], directory: Path, size: int) -> list[Path]:
    rows = iter(rows)
    paths: list[Path] = []
    while chunk := list(itertools.islice(rows, size)):
        chunk.sort(key=_key)
        path = directory / f"run-{len(paths)}"
        with OplogWriter(path) as writer:
            for row in chunk:
                writer.write(row)
        paths.append(path)
    return paths


def _merge(runs: Sequence[Path], output: Path, on_problem: OnProblem) -> Path:
    with OplogWriter(output) as writer:
        for row in _merged(runs, on_problem):
            writer.write(row)
    for run in runs:
        run.unlink()
    return output


def _merged(runs: Sequence[Path], on_problem: OnProblem) -> Iterator[OpRow]:
    with ExitStack() as stack:
        streams = []
        for run in runs:
            stream = read_oplog(run, on_problem)
            stack.callback(stream.close)
            streams.append(stream)
        yield from heapq.merge(*streams, key=_key)


def _key(row: OpRow) -> tuple[int, int]:
    return row.start_ns, row.end_ns
