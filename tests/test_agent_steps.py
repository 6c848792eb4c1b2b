"""Operations of several requests: what is asked of the storage, in which order, and what becomes of failures."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Sequence

import pytest

from sai3tui.agent.lease import TURNS, Lease, LeasedJob, MixJob, MixOp, RetryPolicy, SetSpec
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.stages.turns import TurnSource
from sai3tui.agent.worker.handle import stage_lanes
from sai3tui.agent.worker.messages import Open, WorkerSetup
from sai3tui.agent.worker.steps import part_bytes
from sai3tui.config.model import ReadRange, fixed_size
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Failure
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.drawing import Draw
from tests.fault_server import CREDENTIALS, OK_EMPTY, FaultServer, Step, answer, error_document
from tests.lease_sources import MemorySource
from tests.pools import OBJECTS
from tests.waiting import wait_until_async

MIB = 2**20
BIG = SetSpec(0, new_names(NamePool("data/", 1, 1, 0), fixed_size(11 * MIB)))
BEGUN = answer(b"<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>")
PART = answer(b"", "200 OK", 'ETag: "etag"')
DONE = answer(b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
REFUSED = answer(error_document("AccessDenied"), "403 Forbidden")
BUSY = answer(error_document("SlowDown"), "503 Service Unavailable")


class Turns:
    """Object names and as many turns."""

    def __init__(self, count: int, endpoints: int = 1) -> None:
        self.names = MemorySource(count, endpoints)
        self._turns = TurnSource(TURNS, count)

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        if set_id == 0:
            return await self.names.grant(endpoint, want, set_id)
        lease = await self._turns.grant(endpoint, want, set_id)
        return lease and Lease(1000 + lease.lease_id, lease.set_id, 0, 0, 1, endpoint, 0, lease.count)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        (self._turns if lease_id > 1000 else self.names).finished(
            lease_id - 1000 if lease_id > 1000 else lease_id, done, failed
        )

    def unused(self, lease_id: int, count: int) -> None:
        (self._turns if lease_id > 1000 else self.names).unused(lease_id - 1000 if lease_id > 1000 else lease_id, count)

    def lost(self, lease_id: int) -> None:
        (self._turns if lease_id > 1000 else self.names).lost(lease_id - 1000 if lease_id > 1000 else lease_id)


def pool_of(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, connections: int) -> WorkerPool:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return WorkerPool(WorkerSetup((endpoint,), (connections,)), workers=1)


def requests(server: FaultServer) -> list[str]:
    """Method and query of what the server was asked."""
    found = []
    for head in server.heads:
        match = re.match(rb"(\w+) /[^? ]*\??(\S*) ", head)
        assert match is not None
        found.append(f"{match[1].decode()} {match[2].decode()}".rstrip())
    return found


UPLOAD = MixOp(Op.PUT, 1, 0, leased=True, part_size=5 * MIB)
RETRY = RetryPolicy(1, 0.01, 0.01)
PARTS = [f"PUT partNumber={number}&uploadId=up%2F1" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("steps", "asked", "errors", "attempts"),
    [
        ([BEGUN, PART, PART, PART, DONE], ["POST uploads=", *PARTS, "POST uploadId=up%2F1"], 0, 1),
        (
            [BEGUN, PART, BUSY, PART, PART, DONE],
            ["POST uploads=", *PARTS[:2], *PARTS[1:], "POST uploadId=up%2F1"],
            0,
            2,
        ),
        ([BEGUN, PART, REFUSED, OK_EMPTY], ["POST uploads=", *PARTS[:2], "DELETE uploadId=up%2F1"], 1, 1),
        (
            [BEGUN, PART, PART, PART, REFUSED, OK_EMPTY],
            ["POST uploads=", *PARTS, "POST uploadId=up%2F1", "DELETE uploadId=up%2F1"],
            1,
            1,
        ),
        ([BEGUN, OK_EMPTY, OK_EMPTY], ["POST uploads=", PARTS[0], "DELETE uploadId=up%2F1"], 1, 1),
        ([REFUSED], ["POST uploads="], 1, 1),
        ([BEGUN, REFUSED, REFUSED], ["POST uploads=", PARTS[0], "DELETE uploadId=up%2F1"], 1, 1),
    ],
    ids=["whole", "a part again", "a part fails", "completing fails", "no etag", "not begun", "aborting fails too"],
)
async def test_an_upload_is_completed_or_aborted(
    monkeypatch: pytest.MonkeyPatch, steps: list[bytes], asked: list[str], errors: int, attempts: int
) -> None:
    job = MixJob((UPLOAD,), (BIG,), 60.0, turns=1, retry=RETRY)
    source = Turns(1)
    async with FaultServer(Step(each) for each in steps) as server, pool_of(monkeypatch, server.endpoint, 1) as pool:
        ended = await asyncio.wait_for(pool.run_mix(job, source), 60)
        assert requests(server) == asked
        sent = [len(body) for head, body in zip(server.heads, server.bodies, strict=True) if b"partNumber" in head]
    (stats,) = ended.totals.ops
    assert (stats.ops, stats.errors, stats.attempts) == (1 - errors, errors, attempts)
    assert stats.bytes == (0 if errors else 11 * MIB)
    assert set(sent) <= {5 * MIB, MIB}
    assert source.names.complete is not bool(errors)
    assert set(source.names.failed) == ({0} if errors else set())
    assert not source.names.out


@pytest.mark.parametrize(
    ("steps", "asked", "errors"),
    [
        ([BEGUN, PART, BUSY, PART, PART, DONE], ["POST uploads=", *PARTS[:2], *PARTS[1:], "POST uploadId=up%2F1"], 0),
        ([BEGUN, PART, REFUSED, OK_EMPTY], ["POST uploads=", *PARTS[:2], "DELETE uploadId=up%2F1"], 1),
    ],
    ids=["a part again", "a part fails"],
)
async def test_prepare_uploads_in_parts(
    monkeypatch: pytest.MonkeyPatch, steps: list[bytes], asked: list[str], errors: int
) -> None:
    job = LeasedJob(Op.PUT, (BIG,), retry=RETRY, part_size=5 * MIB)
    source = MemorySource(1, 1)
    async with FaultServer(Step(each) for each in steps) as server, pool_of(monkeypatch, server.endpoint, 1) as pool:
        ended = await asyncio.wait_for(pool.run_leased(job, source), 60)
        assert requests(server) == asked
    (stats,) = ended.totals.ops
    assert (stats.ops, stats.errors) == (1 - errors, errors)
    assert stats.bytes == (0 if errors else 11 * MIB)
    assert set(source.failed) == ({0} if errors else set())
    assert not source.out


async def test_prepare_sends_parts_over_connections_that_have_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    job = LeasedJob(Op.PUT, (BIG,), part_size=5 * MIB)
    source = MemorySource(1, 1)
    async with Answers() as server, pool_of(monkeypatch, server.endpoint, 3) as pool:
        ended = await asyncio.wait_for(pool.run_leased(job, source), 60)
    assert source.complete
    assert len(server.part_senders) == 3
    assert ended.totals.errors == 0


class Answers(FaultServer):
    """Takes any upload, and knows who sent its parts."""

    def __init__(self) -> None:
        super().__init__(())
        self.part_senders: set[int] = set()

    async def _serve_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            if b"partNumber" in head:
                self.part_senders.add(id(writer))
            kind = BEGUN if b"uploads=" in head else PART if b"partNumber" in head else OK_EMPTY
            writer.write(DONE if head.startswith(b"POST") and b"uploadId" in head else kind)
            await writer.drain()


async def test_parts_are_sent_over_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    job = MixJob((UPLOAD, MixOp(Op.STAT, 3, 1, (Draw(0, 1, 1),))), (BIG, SetSpec(1, OBJECTS)), 1.0)
    source = MemorySource(1, 1)
    async with Answers() as server, pool_of(monkeypatch, server.endpoint, 3) as pool:
        ended = await asyncio.wait_for(pool.run_mix(job, source), 60)
    assert source.complete
    assert len(server.part_senders) > 1
    assert {stats.op: stats.errors for stats in ended.totals.ops} == {Op.PUT: 0, Op.STAT: 0}


async def test_an_empty_object_is_written_at_once_and_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SetSpec(0, new_names(NamePool("data/", 1, 1, 0), fixed_size(0)))
    everything = (Draw(0, 1, 1),)
    ops = (
        MixOp(Op.GET, 1, 0, everything, read_range=ReadRange(4096)),
        MixOp(Op.GET, 1, 0, everything, split=(4096, 0, 2)),
        MixOp(Op.PUT, 1, 0, everything, part_size=5 * MIB),
    )
    async with Answers() as server, pool_of(monkeypatch, server.endpoint, 1) as pool:
        ended = await asyncio.wait_for(pool.run_mix(MixJob(ops, (empty,), 60.0, turns=30), Turns(30)), 60)
        assert {head.partition(b" ")[0] for head in server.heads} == {b"GET", b"PUT"}
        assert not any(b"range" in head.lower() or b"uploads" in head for head in server.heads)
    assert ended.failure is None
    assert {stats.errors for stats in ended.totals.ops} == {0}


async def test_an_upload_that_is_stopped_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    job = MixJob((UPLOAD,), (BIG,), 60.0, turns=1)
    source = Turns(1)
    steps = [Step(BEGUN), Step(PART), Step(b"", "hang"), Step(OK_EMPTY)]
    async with FaultServer(steps) as server, pool_of(monkeypatch, server.endpoint, 1) as pool:
        running = asyncio.create_task(pool.run_mix(job, source))
        assert await wait_until_async(lambda: len(server.heads) == 3, 30)
        await pool.stop_stage(0.1)
        ended = await asyncio.wait_for(running, 30)
        assert requests(server)[-1] == "DELETE uploadId=up%2F1"
    assert ended.stopped
    assert sum(stats.errors for stats in ended.totals.ops) == 0


async def test_objects_of_a_batch_that_are_not_deleted_fail_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"pre/{OBJECTS.key(index)}" for index in range(4)]
    error = f"<Error><Key>{keys[2]}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    body = f"<DeleteResult>{error}</DeleteResult>"
    job = MixJob((MixOp(Op.DELETE, 1, 0, leased=True, delete_many=4),), (SetSpec(0, OBJECTS),), 60.0, turns=1)
    source = Turns(4)
    async with (
        FaultServer([Step(answer(body.encode()))]) as server,
        pool_of(monkeypatch, server.endpoint, 1) as pool,
    ):
        ended = await asyncio.wait_for(pool.run_mix(job, source), 60)
        assert requests(server) == ["POST delete="]
        assert re.findall(r"<Key>([^<]*)</Key>", server.bodies[0].decode()) == keys
    assert source.names.done == {0, 1, 3}
    assert set(source.names.failed) == {2}
    assert "AccessDenied" in source.names.failed[2].message
    (stats,) = ended.totals.ops
    assert (stats.ops, stats.errors) == (1, 1)


async def test_a_batch_that_fails_fails_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    job = MixJob((MixOp(Op.DELETE, 1, 0, leased=True, delete_many=4),), (SetSpec(0, OBJECTS),), 60.0, turns=1)
    source = Turns(4)
    async with FaultServer([Step(REFUSED)]) as server, pool_of(monkeypatch, server.endpoint, 1) as pool:
        await asyncio.wait_for(pool.run_mix(job, source), 60)
    assert set(source.names.failed) == {0, 1, 2, 3}
    assert {failure.kind for failure in source.names.failed.values()} == {ErrorKind.PERMISSION}


@pytest.mark.parametrize("wanted", [(1, 1), (2, 1), (3, 4), (5, 5)])
def test_connections_of_a_stage_are_those_that_workers_have(wanted: tuple[int, int]) -> None:
    setup = WorkerSetup((), (5, 5))
    opens = [Open(setup, 0, (3, 2), 0), Open(setup, 1, (2, 3), 5)]
    dealt = stage_lanes(opens, wanted)
    assert tuple(map(sum, zip(*dealt, strict=True))) == wanted
    assert all(
        have <= own
        for lanes, each in zip(dealt, opens, strict=True)
        for have, own in zip(lanes, each.connections, strict=True)
    )
    if sum(wanted) > 1:
        assert abs(sum(dealt[0]) - sum(dealt[1])) <= 1
    with pytest.raises(ValueError, match="connections"):
        stage_lanes(opens, (6, 1))


def test_parts_begin_where_content_does() -> None:
    assert part_bytes(5 * MIB) == 5 * MIB
    assert part_bytes(5 * MIB + 1) == 5 * MIB + 2**18
