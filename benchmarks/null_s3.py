"""The S3 server that stores nothing, on the first core: the other end of all benchmarks here."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from sai3tui.storage.null_sink import null_sink

CORES = tuple(sorted(os.sched_getaffinity(0)))
"""Of this machine, as this process found it before it was pinned: the first is the server's."""


def null_s3(delay_s: float = 0.0, size: int = 0) -> AbstractContextManager[int]:
    """Its port. Every answer waits `delay_s` seconds; `size` is that of GETs whose key does not end in a number."""
    return null_sink(delay_s, CORES[0], size)
