"""What is typed and not saved yet, kept beside the program's state so that a crash does not cost it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from sai3tui.errors import Sai3Error
from sai3tui.screens.files import read_config, write_atomic


class Recovery:
    """The recovery file of one configuration, readable by its owner only. A directory that cannot be had costs the
    recovery, never the editing."""

    def __init__(self, directory: Path, config: Path) -> None:
        name = hashlib.sha256(str(config.absolute()).encode()).hexdigest()[:16]
        self.path = directory / f"{name}.yaml"

    def keep(self, text: str) -> bool:
        """Write what is in the editor; whether that could be done."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)
            write_atomic(self.path, text.encode())
        except (OSError, Sai3Error):
            return False
        return True

    def drop(self) -> None:
        """Forget it: saved, or not wanted."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def found(self) -> str | None:
        """What an earlier session left behind."""
        try:
            return read_config(self.path).decode()
        except (Sai3Error, UnicodeDecodeError):
            return None
