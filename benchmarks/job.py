"""What a client is asked to do, and what is measured of it."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

KEYS = {"AWS_ACCESS_KEY_ID": "benchmarkkey", "AWS_SECRET_ACCESS_KEY": "benchmarksecret", "AWS_REGION": "us-east-1"}
BUCKET = "benchmark"


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU µs (user + system, all threads) per operation, operations a second, latencies as the client sees them."""

    cpu_us: float
    ops_per_s: float
    p50_ms: float
    p99_ms: float
    rss_mib: float
    ops: int


@dataclass(frozen=True, slots=True)
class Job:
    """One operation, over and over for so many seconds."""

    op: str
    size: int
    connections: int
    seconds: float
    port: int
    tls: bool = False

    @property
    def key(self) -> str:
        """The null server sends as many bytes as the key ends with."""
        return f"some/prefix/object_00000001.dat/{self.size}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    """CPU seconds that have been used."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measured(cpu: float, wall: float, latencies_ns: Sequence[int]) -> Measured:
    """Raises RuntimeError if there was too little to measure."""
    count = len(latencies_ns)
    if count < 2:
        raise RuntimeError("too few operations were completed")
    cuts = statistics.quantiles(latencies_ns, n=100)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(cpu / count * 1e6, count / wall, cuts[49] / 1e6, cuts[98] / 1e6, rss, count)
