"""The configurations that were opened last, kept from one start to the next."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from sai3tui.errors import Sai3Error
from sai3tui.screens.files import write_atomic

MOST = 20


class RecentConfigs:
    """Newest first, in a file; without one, as long as the program runs."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = _read(path)

    def existing(self) -> tuple[Path, ...]:
        """Those that are still there."""
        return tuple(each for each in self._known if _is_file(each))

    def note(self, config: Path) -> None:
        """`config` was opened or run. A list that cannot be written costs nothing but the memory of it."""
        config = config.absolute()
        self._known = [config, *(each for each in self._known if each != config)][:MOST]
        if self._path is not None:
            with suppress(OSError, Sai3Error):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._path, json.dumps([str(each) for each in self._known]).encode())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path | None) -> list[Path]:
    """What the file says, as far as it can be understood."""
    if path is None:
        return []
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [Path(each) for each in found if isinstance(each, str)][:MOST] if isinstance(found, list) else []
