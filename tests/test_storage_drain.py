"""Long bodies that nobody looks at: counted to the byte, whatever becomes of the connection in between."""

from __future__ import annotations

import os
import sys

import pytest

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.storage.drain import DRAIN_BYTES
from sai3tui.storage.engine import Request
from tests.engine_harness import Collected, Harness, against, noise, run_on
from tests.fault_server import CREDENTIALS, FaultServer, Step, answer
from tests.waiting import wait_until_async

LONG = noise(5_000_001)
GET = Request(op=Op.GET, key="k")
LOOPS = ["asyncio", "uvloop"]


def open_sockets() -> int:
    """Descriptors of this process that are sockets."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return found


@pytest.mark.parametrize("loop", LOOPS)
def test_long_and_short_bodies_take_turns_on_one_connection(loop: str) -> None:
    sizes = [5_000_001, 3, DRAIN_BYTES - 1, DRAIN_BYTES, 2_000_000, 0, 700_000]

    async def work() -> None:
        async with against([Step(answer(LONG[:size])) for size in sizes]) as (harness, server):
            for size in sizes:
                outcome = await harness(GET)
                assert (outcome.ok, outcome.moved) == (True, size), outcome.failure
            assert server.connections == 1

    run_on(loop, work())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_body_that_is_looked_at_comes_whole_between_others(loop: str) -> None:
    async def work() -> None:
        async with against([Step(answer(LONG))] * 3) as (harness, _):
            assert (await harness(GET)).moved == len(LONG)
            sink = Collected()
            assert (await harness(Request(op=Op.GET, key="k", sink=sink))).ok
            assert bytes(sink.data) == LONG
            assert (await harness(GET)).moved == len(LONG)

    run_on(loop, work())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_connection_that_ends_in_a_long_body(loop: str, then: str) -> None:
    cut = answer(LONG)[:-1000]

    async def work() -> None:
        async with against([Step(answer(LONG)), Step(cut, then), Step(answer(b"abc"))]) as (harness, _):
            assert (await harness(GET)).ok
            outcome = await harness(GET)
            assert (outcome.kind, outcome.subclass) == (ErrorKind.NETWORK, "truncated"), outcome.failure
            if then == "close":
                assert outcome.failure is not None
                assert "1000 bytes before the end" in outcome.failure.message
            assert (await harness(GET)).moved == 3

    run_on(loop, work())


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize("loop", LOOPS)
def test_cancelled_and_overdue_bodies_leave_nothing_open(loop: str) -> None:
    half = Step(answer(LONG)[:3_000_000], "hang")

    async def work() -> None:
        async with FaultServer([half, half, Step(answer(LONG))]) as server:
            before = open_sockets()
            async with await Harness.open([server.endpoint], CREDENTIALS, op_timeout=1.0) as harness:
                future = harness.start(GET)
                assert await wait_until_async(lambda: len(server.heads) == 1)
                harness.engine.connections[0].cancel()
                assert (future.result().kind, future.result().subclass) == (ErrorKind.TIMEOUT, "cancelled")
                outcome = await harness(GET)
                assert (outcome.kind, outcome.subclass) == (ErrorKind.TIMEOUT, "op")
                assert (await harness(GET)).moved == len(LONG)
            # The server's ends go as it notices.
            assert await wait_until_async(lambda: open_sockets() <= before + 2)

    run_on(loop, work())
