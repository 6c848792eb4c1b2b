"""What TLS costs the wire engine: CPU µs per operation, plain and encrypted, interleaved, one connection set.

    python -m benchmarks.tls [--rounds 3] [--seconds 0.4]

The server is a minimal one of its own, on the first core, with the same code for both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.clients import run_engine
from benchmarks.job import Job
from benchmarks.null_s3 import CORES

SIZES = (1024, 64 * 1024, 8 * 1024 * 1024)
PEM = Path(__file__).parents[1] / "tests" / "data"
PIECE = 256 * 1024


class Answering(asyncio.Protocol):
    """Reads a request and drops it; a GET gets as many bytes as its key says."""

    def __init__(self) -> None:
        self.left = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= len(data)
            if self.left <= 0:
                self.left = 0
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        head, _, rest = data.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            size = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for at in range(0, size, PIECE):
                self.transport.write(ZEROS[: min(PIECE, size - at)])
            return
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0])
        self.left = length - len(rest)
        if self.left <= 0:
            self.left = 0
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


ZEROS = memoryview(bytes(PIECE))


async def serve() -> None:
    os.sched_setaffinity(0, {CORES[0]})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM / "tls-test-cert.pem", PEM / "tls-test-key.pem")
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(Answering, "127.0.0.1", 0)
    secure = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context)
    print(*(each.sockets[0].getsockname()[1] for each in (plain, secure)), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Medians: `op`, `size`, and CPU µs per operation, `plain` and with `tls`."""
    command = [sys.executable, "-m", "benchmarks.tls", "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ports = [int(port) for port in server.stdout.readline().split()]
        if len(CORES) > 1:
            os.sched_setaffinity(0, CORES[1:])
        costs: dict[tuple[int, str, bool], list[float]] = {}
        for _ in range(rounds):
            for size in SIZES:
                for op in ("get", "put"):
                    for tls in (False, True):
                        job = replace(Job(op, size, 16, seconds, ports[tls]), tls=tls)
                        costs.setdefault((size, op, tls), []).append(uvloop.run(run_engine("wire", job)).cpu_us)
    finally:
        server.kill()
        server.communicate()
    found = []
    for size in SIZES:
        for op in ("get", "put"):
            plain, secure = (statistics.median(costs[size, op, tls]) for tls in (False, True))
            found.append({"op": op, "size": size, "plain": plain, "tls": secure})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        uvloop.run(serve())
    else:
        for row in measure(args.rounds, args.seconds):
            plain, secure = row["plain"], row["tls"]
            print(f"{row['op']} {row['size']:10,d} {plain:10.1f} µs, TLS {secure:10.1f} µs, ratio {secure / plain:.1f}")


if __name__ == "__main__":
    main()
