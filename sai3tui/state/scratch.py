"""Directories beside state caches for a moment's work: copies for checkpoints, and what is unpacked to be looked at."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".scratch-"


@contextmanager
def scratch(parent: Path, kind: str) -> Iterator[Path]:
    """An empty directory below `parent`, which is gone in the end. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-", dir=parent) as name, _held(Path(name)):
        yield Path(name)


def clear(parent: Path) -> None:
    """Remove what those have left there that were killed; what is in use stays."""
    for left in list(parent.glob(f"{PREFIX}*")):
        with suppress(OSError), _held(left):
            shutil.rmtree(left)


def is_scratch(path: Path) -> bool:
    """Whether `path` is in such a directory."""
    return any(part.startswith(PREFIX) for part in path.parts)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Raises BlockingIOError if somebody else holds it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
