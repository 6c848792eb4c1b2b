"""The S3 server that stores nothing, on the first core: the other end of all benchmarks here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sai3tui.storage.null_sink import null_sink


@contextmanager
def null_s3(delay_s: float = 0.0) -> Iterator[int]:
    """Its port. Every answer waits `delay_s` seconds."""
    with null_sink(delay_s, min(os.sched_getaffinity(0))) as port:
        yield port
