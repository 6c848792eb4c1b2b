"""What making the content of objects costs.

python -m benchmarks.payload
"""

from __future__ import annotations

import time

from sai3tui.config.model import Content
from sai3tui.storage.engine import PIECE_BYTES
from sai3tui.workload.content import ContentMaker, Payload


def payload_us(size: int, seconds: float) -> float:
    """CPU µs per object of this size, made piece by piece as a PUT asks for it, over so many seconds."""
    maker, payload = ContentMaker(Content(), 1), Payload()
    count, begin, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(10):
            payload.become(maker, 1, count, 0, size)
            for offset in range(0, size, PIECE_BYTES):
                payload.piece(offset, min(PIECE_BYTES, size - offset))
            count += 1
    return (time.process_time() - begin) / count * 1e6


def main() -> None:
    for size in (1024, 64 * 1024, 8 * 1024 * 1024):
        cost = payload_us(size, 0.5)
        print(f"{size:10,d} bytes {cost:10.1f} µs {size / cost / 1e3:8.1f} GB/s")


if __name__ == "__main__":
    main()
