"""`sai3tui convert`: rewrite configuration files into the current form, keeping the old ones."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from sai3tui.config.convert import convert_text
from sai3tui.config.load import load_config
from sai3tui.config.problems import Level
from sai3tui.config.yaml12 import MAX_BYTES
from sai3tui.errors import ConfigError

EXIT_OK = 0
EXIT_INVALID = 2
MAX_BACKUPS = 1000


def convert_files(paths: Sequence[Path], out: TextIO, *, dry_run: bool) -> int:
    """Convert every file; with `dry_run` write to `out` what would change. 0, or 2 if one could not be converted."""
    done = [_convert(path, out, dry_run=dry_run) for path in paths]
    return EXIT_OK if all(done) else EXIT_INVALID


def _convert(path: Path, out: TextIO, *, dry_run: bool) -> bool:
    try:
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
        loaded = load_config(source, str(path))
        if loaded.config is None:
            sys.stderr.writelines(f"{problem}\n" for problem in loaded.problems if problem.level is Level.ERROR)
            return False
        conversion = convert_text(source, str(path))
        if not conversion.changes:
            sys.stderr.write(f"{path}: already in the current form\n")
            return True
        if dry_run:
            out.writelines(_diff(source.decode("utf-8-sig"), conversion.text, str(path)))
            return True
        backup = _replace(path, source, conversion.text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sys.stderr.write(f"{path}: cannot convert the file: {reason}\n")
        return False
    except ConfigError as error:
        sys.stderr.write(f"{error.message} ({error.hint})\n" if error.hint else f"{error.message}\n")
        return False
    out.write(f"{path}: converted; the old file is {backup}\n")
    out.writelines(f"  {change}\n" for change in conversion.changes)
    return True


def _diff(before: str, after: str, path: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path, f"{path} (converted)", lineterm="")
    return [f"{line}\n" for line in lines]


def _replace(path: Path, source: bytes, text: str) -> Path:
    """Put `text` in place of the file at once, and what it was beside it. The path of that."""
    real = path.resolve()
    backup = _write_backup(real, source)
    handle, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(real.stat().st_mode & 0o7777)
        new.replace(real)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return backup


def _write_backup(path: Path, source: bytes) -> Path:
    """Never over an older backup."""
    for number in range(MAX_BACKUPS):
        backup = path.with_name(f"{path.name}.bak{number or ''}")
        try:
            with backup.open("xb") as file:
                file.write(source)
        except FileExistsError:
            continue
        return backup
    raise FileExistsError(0, f"{path.name}.bak and {MAX_BACKUPS} others exist already")
