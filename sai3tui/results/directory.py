"""Results directories: one per run, named by when it began and what it ran, never shared."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from sai3tui.errors import ResourceError
from sai3tui.results.files import safe_name, write_error

MOST_OF_A_SECOND = 1000


def check_root(root: Path) -> None:
    """Raises ResourceError, naming the path, if no results directory can be made in `root`."""
    existing = root
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise ResourceError(f"results cannot go to {root}: {existing} is not a directory", hint=_ELSEWHERE)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ResourceError(f"results cannot go to {root}: {existing} is not writable", hint=_ELSEWHERE)


def make_directory(root: Path, config_name: str, started_ns: int) -> Path:
    """Make the directory of a run that started at `started_ns` (UTC). Raises ResourceError if that cannot be done."""
    stamp = datetime.fromtimestamp(started_ns / 1e9, UTC).strftime("%Y%m%d-%H%M%S")
    base = f"sai3-{stamp}-{safe_name(Path(config_name).stem)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, MOST_OF_A_SECOND):
            path = root / (base if number == 1 else f"{base}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise write_error(root, error) from error
    raise ResourceError(f"{root} already has {MOST_OF_A_SECOND - 1} directories {base}", hint=_ELSEWHERE)


def is_written(directory: Path) -> bool:
    """Whether a controller writes into this results directory."""
    try:
        with (directory / "events.jsonl").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


_ELSEWHERE = "choose another place with --results DIR"
