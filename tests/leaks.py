"""Where a secret could be found by somebody whom it is not meant for."""

from __future__ import annotations

from pathlib import Path

import psutil


def files_with(secret: bytes, *roots: Path) -> list[Path]:
    paths = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in paths if secret in path.read_bytes()]


def processes_with(secret: str) -> list[int]:
    """Processes whose command line has it."""
    everybody = psutil.process_iter(["pid", "cmdline"])
    return [one.info["pid"] for one in everybody if any(secret in word for word in one.info["cmdline"] or ())]
