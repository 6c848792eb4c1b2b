"""How long answers wait is told by the kernel's stamps, takes nothing away, and keeps no connection open."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from sai3tui.agent.worker.answers import AnswerWatch
from sai3tui.agent.worker.probe import LagProbe
from sai3tui.storage.engine import SocketConnection
from tests.waiting import wait_until_async

STALL_S = 0.05
MOST = 30


class Bare:
    """What a watch needs of a connection."""

    def __init__(self, transport: asyncio.BaseTransport | None) -> None:
        self.transport = transport


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Bare, asyncio.StreamReader, socket.socket]]:
    """A connection, its reader, and the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        peer, _ = listening.accept()
    try:
        yield Bare(writer.transport), reader, peer
    finally:
        peer.close()
        writer.transport.abort()
        await asyncio.sleep(0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _stalled(waits: list[int], wanted: int) -> None:
    async with connected() as (bare, reader, peer):
        assert isinstance(bare, SocketConnection)
        watch = AnswerWatch(asyncio.get_running_loop(), [bare], waits.append)  # type: ignore[list-item]
        for _ in range(MOST):
            watch.turn()
            await asyncio.sleep(0)
            peer.send(b"answer")
            # The loop is busy with something else: this is what is measured.
            time.sleep(STALL_S)
            assert await asyncio.wait_for(reader.readexactly(6), 5) == b"answer"
            # Now and then whoever the answer is for is faster than the look at it, which is then missed.
            if len(waits) >= wanted:
                break
        watch.close()
        watch.turn()


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_an_answer_has_waited_as_long_as_the_loop_was_busy(runner: object) -> None:
    waits: list[int] = []
    # A loop's first run may open something for good.
    runner(_stalled([], 1))  # type: ignore[operator]
    before = descriptors()
    runner(_stalled(waits, 3))  # type: ignore[operator]
    assert len(waits) >= 3
    assert all(STALL_S * 1e9 <= wait < 10e9 for wait in waits)
    assert descriptors() == before


async def test_a_connection_that_the_engine_gave_up_is_let_go() -> None:
    async with connected() as (bare, _, peer):
        before = descriptors()
        waits: list[int] = []
        watch = AnswerWatch(asyncio.get_running_loop(), [bare], waits.append)  # type: ignore[list-item]
        watch.turn()
        assert descriptors() == before + 1
        watch.turn()
        assert descriptors() == before + 1
        bare.transport = None
        watch.turn()
        assert descriptors() == before
        watch.close()
        peer.close()


async def test_probes_tell_how_long_the_loop_was_busy() -> None:
    lags: list[int] = []
    turns: list[int] = []
    probe = LagProbe(asyncio.get_running_loop(), lags.append, lambda: turns.append(1))
    assert await wait_until_async(lambda: len(lags) >= 2)
    time.sleep(4 * STALL_S)
    known = len(lags)
    assert await wait_until_async(lambda: len(lags) > known)
    # It was due within 30 ms of a stall of 200 ms.
    assert max(lags) >= 3 * STALL_S * 1e9
    assert len(turns) == len(lags)
    probe.close()
    probe.close()
