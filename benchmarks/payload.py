"""What making the content of objects costs.

python -m benchmarks.payload
"""

from __future__ import annotations

import time
from collections import deque

from sai3tui.config.model import Content
from sai3tui.storage.engine import PIECE_BYTES
from sai3tui.workload.content import ContentMaker, Payload

CONNECTIONS = 16


def payload_us(size: int, seconds: float) -> float:
    """CPU µs per object of this size, over so many seconds. Made as PUTs on `CONNECTIONS` connections ask for it: a
    piece for one after the other, each of them held until its connection asks for the next. So caches hold what they
    hold then, but for what sending needs."""
    maker = ContentMaker(Content(), 1)
    payloads = [Payload() for _ in range(CONNECTIONS)]
    held: deque[memoryview] = deque(maxlen=CONNECTIONS)
    count, begin, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for payload in payloads:
            payload.become(maker, 1, count, 0, size)
            count += 1
        for offset in range(0, size, PIECE_BYTES):
            for payload in payloads:
                held.append(payload.piece(offset, min(PIECE_BYTES, size - offset)))
    return (time.process_time() - begin) / count * 1e6


def main() -> None:
    for size in (1024, 64 * 1024, 8 * 1024 * 1024):
        cost = payload_us(size, 0.5)
        print(f"{size:10,d} bytes {cost:10.1f} µs {size / cost / 1e3:8.1f} GB/s")


if __name__ == "__main__":
    main()
