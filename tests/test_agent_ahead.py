"""PUTs that are made ahead: the same bytes as those made in time, each once, and again when they are sent again."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import replace

import pytest

from sai3tui.agent.lease import Lease, SetSpec
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker import ahead
from sai3tui.agent.worker.ahead import AT_ONCE, MAX_BYTES, HeadsAhead, PutsAhead
from sai3tui.agent.worker.lane import SetRuntime
from sai3tui.config.model import SizeSpec, fixed_size
from sai3tui.config.ops import Op
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import EngineOptions, Request
from sai3tui.storage.s3wire import WireConnection, WireEngine
from sai3tui.workload.content import Payload
from tests.engine_harness import Harness
from tests.fault_server import CREDENTIALS, OK_EMPTY, FaultServer, Step

LEASE = Lease(1, 0, 1, 0, 2, 0, 5, 20)
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


def runtime(size: SizeSpec | int = 1024) -> SetRuntime:
    spec = fixed_size(size) if isinstance(size, int) else size
    return SetRuntime(SetSpec(0, new_names(NamePool("out/", 7, 1, 0), spec)), {})


def body(objects: SetRuntime, index: int) -> bytes:
    payload = Payload()
    payload.become(objects.maker, LEASE.generation, index, 0, objects.size(index))
    return bytes(payload.piece(0, objects.size(index)))


def connection_of(harness: Harness) -> WireConnection:
    connection = harness.engine.connections[0]
    assert isinstance(connection, WireConnection)
    return connection


async def test_what_is_made_ahead_arrives_like_what_is_made_in_time() -> None:
    objects, puts = runtime(), PutsAhead(LEASE, Payload())
    indices = list(LEASE.indices())
    async with FaultServer([Step(OK_EMPTY)] * 2 * len(indices)) as server:
        harness = await Harness.open([server.endpoint], CREDENTIALS)
        for index in indices:
            made = puts.take(connection_of(harness), objects, LEASE.generation, index)
            assert made is not None
            assert (made.key, made.size) == (objects.key(index), 1024)
            assert (await harness(Request(Op.PUT, made.key, made.size, made=made.data))).ok
        for index in indices:
            payload = Payload()
            payload.become(objects.maker, LEASE.generation, index, 0, 1024)
            assert (await harness(Request(Op.PUT, objects.key(index), 1024, payload))).ok
        await harness.engine.close()
    ahead_, in_time = server.heads[: len(indices)], server.heads[len(indices) :]
    assert server.bodies == [body(objects, index) for index in indices] * 2
    assert [head.split(b"\r\n")[0] for head in ahead_] == [head.split(b"\r\n")[0] for head in in_time]
    assert [head.count(b"\r\n") for head in ahead_] == [head.count(b"\r\n") for head in in_time]
    assert b"Content-Length: 1024" in ahead_[0]


async def test_what_failed_is_sent_again_whole() -> None:
    objects, puts = runtime(), PutsAhead(LEASE, Payload())
    index = next(iter(LEASE.indices()))
    async with FaultServer([Step(BUSY), Step(OK_EMPTY)]) as server:
        harness = await Harness.open([server.endpoint], CREDENTIALS)
        made = puts.take(connection_of(harness), objects, LEASE.generation, index)
        assert made is not None
        payload = Payload()
        payload.become(objects.maker, LEASE.generation, index, 0, 1024)
        request = Request(Op.PUT, made.key, made.size, payload, made=made.data)
        assert not (await harness(request)).ok
        assert not request.made
        assert (await harness(request)).ok
        await harness.engine.close()
    assert server.bodies == [body(objects, index)] * 2


async def _unconnected() -> WireConnection:
    engine = WireEngine(EngineOptions(asyncio.get_running_loop()), CREDENTIALS)
    async with FaultServer([]) as server:
        await engine.open([server.endpoint], [1], lambda *_: None)
    connection = engine.connections[0]
    await engine.close()
    assert isinstance(connection, WireConnection)
    return connection


@pytest.mark.parametrize(
    ("lease", "size"),
    [(LEASE, MAX_BYTES + 1), (replace(LEASE, explicit=array("Q", [3, 9]).tobytes(), count=2), 1024)],
    ids=["large", "listed"],
)
async def test_some_are_made_in_time_only(lease: Lease, size: int) -> None:
    connection, objects, puts = await _unconnected(), runtime(size), PutsAhead(lease, Payload())
    assert [puts.take(connection, objects, 1, index) for index in lease.indices()] == [None] * lease.count


async def test_the_largest_and_the_empty_are_made_ahead() -> None:
    connection = await _unconnected()
    for size in (0, 1, MAX_BYTES):
        made = PutsAhead(LEASE, Payload()).take(connection, runtime(size), 1, LEASE.first_k * 2)
        assert made is not None
        assert made.data.endswith(b"\r\n\r\n" + body(runtime(size), LEASE.first_k * 2))


async def test_signatures_are_made_anew_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, objects, puts = await _unconnected(), runtime(), PutsAhead(LEASE, Payload())
    first, second, third = list(LEASE.indices())[:3]
    now = [1_000]
    monkeypatch.setattr(ahead, "monotonic_ns", lambda: now[0])
    connection.signer.refresh(1_700_000_000.0)
    made = puts.take(connection, objects, 1, first)
    assert made is not None
    assert b"20231114T221320Z" in made.data
    connection.signer.refresh(1_700_000_001.0)
    made = puts.take(connection, objects, 1, second)
    assert made is not None
    assert b"20231114T221320Z" in made.data, f"made with the first, as one of {AT_ONCE}"
    now[0] += ahead.KEPT_NS
    connection.signer.refresh(1_700_000_011.0)
    made = puts.take(connection, objects, 1, third)
    assert made is not None
    assert b"20231114T221331Z" in made.data


async def test_heads_are_made_ahead_of_what_is_drawn_and_of_nothing_else() -> None:
    objects, drawn = runtime(), iter([4, 9, 4])
    async with FaultServer([Step(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")] * 3) as server:
        harness = await Harness.open([server.endpoint], CREDENTIALS)
        heads = HeadsAhead(Op.GET, objects, lambda: next(drawn, None))
        for index in (4, 9, 4):
            made = heads.take(connection_of(harness))
            assert made is not None
            assert (made.object_index, made.key) == (index, objects.key(index))
            assert (await harness(Request(Op.GET, made.key, made=made.data))).ok
        assert heads.take(connection_of(harness)) is None
        await harness.engine.close()
    lines = [head.split(b"\r\n")[0].decode() for head in server.heads]
    assert lines == [f"GET /bucket/pre/{objects.key(index)} HTTP/1.1" for index in (4, 9, 4)]


async def test_what_was_drawn_is_not_drawn_again_when_its_date_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, objects, drawn = await _unconnected(), runtime(), iter(range(100))
    now = [1_000]
    monkeypatch.setattr(ahead, "monotonic_ns", lambda: now[0])
    heads = HeadsAhead(Op.STAT, objects, lambda: next(drawn))
    found = []
    for turn in range(3 * AT_ONCE):
        connection.signer.refresh(1_700_000_000.0 + turn)
        now[0] += ahead.KEPT_NS // 3
        made = heads.take(connection)
        assert made is not None
        found.append(made.object_index)
        made_at = int(made.data.partition(b"20231114T2213")[2][:2]) - 20
        assert turn - 3 <= made_at <= turn
    assert found == list(range(3 * AT_ONCE))


async def test_what_could_not_be_sent_is_not_sent_as_something_else() -> None:
    """The request is used again for another operation: what was made for the first one must be gone."""
    connection_lost = Request(Op.GET, "a", made=b"GET /bucket/pre/a HTTP/1.1\r\n\r\n")
    async with FaultServer([Step(OK_EMPTY)]) as server:
        harness = await Harness.open([server.endpoint], CREDENTIALS)
        connection = connection_of(harness)
        ended = asyncio.ensure_future(harness(connection_lost))
        await asyncio.sleep(0)
        connection.cancel()
        assert not (await ended).ok
        connection_lost.key = "b"
        assert (await harness(connection_lost)).ok
        await harness.engine.close()
    assert [head.split(b" ")[1] for head in server.heads] == [b"/bucket/pre/b"]
