"""Reading and writing configuration files: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sai3tui.errors import ResourceError
from sai3tui.screens.services import OpenConfig
from sai3tui.widgets.run_views import RunReport

MAX_BYTES = 4 * 1024 * 1024


def read_config(path: Path) -> bytes:
    """The file's bytes. Raises ResourceError if it cannot be read, is no file, or is too large to edit."""
    try:
        if path.is_dir():
            raise ResourceError(f"{path} is a directory", hint="name a YAML file")
        if path.stat().st_size > MAX_BYTES:
            raise ResourceError(f"{path} is larger than 4 MiB", hint="a configuration is a small YAML file")
        return path.read_bytes()
    except OSError as error:
        raise ResourceError(f"cannot read {path}: {error.strerror or error}", hint="check the path") from error


def text_of(data: bytes, path: Path) -> str:
    """The bytes as text. Raises ResourceError if they are none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ResourceError(f"{path} is not UTF-8 text", hint="a configuration is a YAML file in UTF-8") from error
    if "\0" in text:
        raise ResourceError(f"{path} is a binary file", hint="a configuration is a YAML file in UTF-8")
    return text


def write_atomic(path: Path, data: bytes) -> None:
    """Replace the file in one step, keeping its mode. Raises ResourceError; the old content is then untouched."""
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
            Path(name).chmod(mode)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror or error}", hint="save it elsewhere") from error


def config_again(report: RunReport) -> OpenConfig:
    """Edit what a run was made with, under the name it had. Raises ResourceError if the run kept no copy."""
    if report.config is None:
        raise ResourceError(f"{report.name} left no results directory", hint="open its configuration by its path")
    return OpenConfig(Path(report.config_path or report.name), text_of(read_config(report.config), report.config))


def free_name(path: Path) -> Path:
    """`path`, or the first of name-2, name-3, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
