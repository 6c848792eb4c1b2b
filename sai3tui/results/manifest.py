"""What a run's files were when it ended, so that somebody who is handed them can see whether they still are that."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
LARGEST_SUMMED = 4 << 20
"""Bytes of a file whose content is checked and not only its size: rows of single agents over days would take long."""
PATTERNS = (
    "*.tsv",
    "*.zst",
    "agents/*/perf_log.tsv",
    "baseline.json",
    "config.yaml",
    "events.jsonl",
    "histograms.hlog",
    "plan.json",
    "STATUS.txt",
)
"""Files that do not change any more once a run is over."""


def manifest(directory: Path) -> dict[str, dict[str, int | str]]:
    """By name: `bytes`, and `crc32` of files that are not too large."""
    made: dict[str, dict[str, int | str]] = {}
    for path in sorted(found for pattern in PATTERNS for found in directory.glob(pattern) if found.is_file()):
        try:
            made[str(path.relative_to(directory))] = _state(path)
        except OSError:
            # It was not written either, which is told where that failed.
            continue
    return made


def changes(directory: Path, known: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each file that is not what it was. Raises ValueError for another kind of document."""
    for name, state in sorted(known.items()):
        if not isinstance(state, dict) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError("its list of files is broken")
        path = directory / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        try:
            now = _state(path)
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
            continue
        if now["bytes"] != state.get("bytes"):
            yield f"{name} was changed after the run: {now['bytes']} bytes where {state.get('bytes')} were written"
        elif now.get("crc32") != state.get("crc32"):
            yield f"{name} was changed after the run"


def _state(path: Path) -> dict[str, int | str]:
    size = path.stat().st_size
    if size > LARGEST_SUMMED:
        return {"bytes": size}
    crc = 0
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            crc = zlib.crc32(data, crc)
    return {"bytes": size, "crc32": f"{crc:08x}"}
