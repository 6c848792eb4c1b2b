"""Directories that belong to one agent at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sai3tui.errors import ErrorContext, ResourceError


@contextmanager
def locked(directory: Path, what: str, hint: str) -> Iterator[None]:
    """Hold a directory, made if it is not there; `what` it is and what to do are for the errors. Raises
    ResourceError."""
    context = ErrorContext(uri=str(directory))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "lock").open("w")
    except OSError as error:
        raise ResourceError(f"the {what} {directory} cannot be used", hint=hint, context=context) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = f"the {what} {directory} is in use by another agent"
            raise ResourceError(text, hint=hint, context=context) from error
        yield
