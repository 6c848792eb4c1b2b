"""Object sizes grouped into the nine buckets of the result files."""

from __future__ import annotations

from bisect import bisect_left

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

UPPER_BOUNDS = (0, 8 * KIB, 64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB, 256 * MIB, 2 * GIB)
LABELS = (
    "zero",
    "1B-8KiB",
    "8KiB-64KiB",
    "64KiB-512KiB",
    "512KiB-4MiB",
    "4MiB-32MiB",
    "32MiB-256MiB",
    "256MiB-2GiB",
    ">2GiB",
)
BUCKETS = len(LABELS)


def bucket_of(size: int) -> int:
    """The bucket of an object of `size` bytes; bounds are inclusive above."""
    return bisect_left(UPPER_BOUNDS, size)
