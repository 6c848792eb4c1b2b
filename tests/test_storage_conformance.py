"""The S3 engines against real servers that differ: signatures, sinks, ranges, parts, batches, pages, checksums."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import boto3
import pytest
from botocore.config import Config as BotoConfig

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import MAX_PUT_BYTES, Checksum, PayloadSigning, S3Options
from sai3tui.errors import ConfigError, ErrorKind, StorageError
from sai3tui.storage.control import ControlPlane
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.s3calls import (
    MAX_OBJECT_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    S3Calls,
    batch_request,
    part_sizes,
)
from sai3tui.storage.s3uploads import abort_upload, open_uploads
from sai3tui.storage.s3wire import WireConnection
from tests.ceph_gateway import missing, radosgw
from tests.engine_harness import Bytes, Collected, Harness, noise, put, run_on
from tests.fault_server import CREDENTIALS
from tests.s3_servers import ministack, moto, program
from tests.servers import ServerUnderTest

MIB = 1024 * 1024
BUCKET = "conformance-bucket"
# Every byte that a key may have and that means something to a URL, to XML or to a signature.
AWKWARD = [f"k{chr(code)}x" for code in range(0x20, 0x7F)] + ["ünïcode/日本/\U0001f600", "a b+c&d=e?f#g%41", "tab\tx"]


@dataclass(frozen=True)
class Server:
    """A real server, and what is not to be expected of it."""

    name: str
    endpoint: Endpoint
    environ: Mapping[str, str]

    def at(self, prefix: str) -> Endpoint:
        return replace(self.endpoint, uri=self.endpoint.uri + prefix, prefix=prefix)


def _server(name: str, port: int, environ: Mapping[str, str]) -> Server:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    return Server(name, Endpoint(f"s3://127.0.0.1:{port}/{BUCKET}/", "s3", "127.0.0.1", port, BUCKET), environ)


@pytest.fixture(scope="module", params=["rclone", "ministack", "moto", pytest.param("ceph", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, s3_server: ServerUnderTest) -> Iterator[Server]:
    if request.param == "rclone":
        yield _server("rclone", s3_server.port, s3_server.environ())
        return
    if request.param == "ceph":
        absent = missing()
        if absent:
            pytest.skip(f"{', '.join(absent)} not installed")
        with radosgw() as port:
            yield _server("ceph", port, CREDENTIALS)
        return
    if program("moto_server" if request.param == "moto" else "ministack") is None:
        pytest.skip(f"{request.param} is not installed")
    with ministack() if request.param == "ministack" else moto() as port:
        yield _server(request.param, port, CREDENTIALS)


@pytest.mark.parametrize("engine", ["wire", "boto"])
def test_awkward_keys_and_sizes_come_back(server: Server, engine: str) -> None:
    async def work() -> None:
        async with await Harness.open(
            [server.at(f"{engine}/")], server.environ, name=engine, connections=[4]
        ) as harness:
            # A file system cannot hold what ends in a slash, or is a directory to another key.
            keys = [key for key in AWKWARD if server.name in ("ministack", "ceph") or "\t" not in key]
            for number, key in enumerate(keys):
                data = noise(number)
                outcome = await harness(put(key, data), number % 4)
                assert outcome.ok, (key, outcome.failure)
                sink = Collected()
                outcome = await harness(Request(op=Op.GET, key=key, sink=sink), (number + 1) % 4)
                assert outcome.ok, (key, outcome.failure)
                assert (bytes(sink.data), sink.ended) == (data, len(data)), key
                assert (await harness(Request(op=Op.STAT, key=key), number % 4)).ok
            for key in keys[::7]:
                assert (await harness(Request(op=Op.DELETE, key=key))).ok
                outcome = await harness(Request(op=Op.GET, key=key))
                assert outcome.kind is ErrorKind.NOT_FOUND, (key, outcome.failure)

    run_on("uvloop", work())


@pytest.mark.parametrize("engine", ["wire", "boto"])
def test_ranges(server: Server, engine: str) -> None:
    data = noise(600_000)

    async def work() -> None:
        async with await Harness.open([server.at(f"range-{engine}/")], server.environ, name=engine) as harness:
            assert (await harness(put("k", data))).ok
            for offset, length in [
                (0, 1),
                (0, 600_000),
                (5, 300_000),
                (599_999, 1),
                (599_000, 5000),
                (70_000, 262_144),
            ]:
                sink = Collected()
                outcome = await harness(Request(op=Op.GET, key="k", offset=offset, length=length, sink=sink))
                assert outcome.ok, outcome.failure
                assert bytes(sink.data) == data[offset : offset + length]
                outcome = await harness(Request(op=Op.GET, key="k", offset=offset, length=length))
                assert outcome.moved == len(data[offset : offset + length])
            outcome = await harness(Request(op=Op.GET, key="k", offset=700_000, length=10))
            assert outcome.kind is ErrorKind.CONFIG
            assert (await harness(Request(op=Op.GET, key="k"))).moved == 600_000

    run_on("uvloop", work())


@pytest.mark.parametrize("checksum", list(Checksum))
@pytest.mark.parametrize("signing", list(PayloadSigning))
def test_signed_and_checked_bodies(server: Server, signing: PayloadSigning, checksum: Checksum) -> None:
    options = S3Options(payload_signing=signing, checksum=checksum)
    behind_the_body = signing is PayloadSigning.UNSIGNED and checksum is not Checksum.NONE

    async def work() -> None:
        place = server.at(f"{signing.value}-{checksum.value}/")
        if server.name == "ceph" and behind_the_body:
            # Ceph 16, which Debian has, does not know them, and what it says then is worth a hint.
            async with await Harness.open([place], server.environ, s3=options) as harness:
                outcome = await harness(put("k", b"x"))
                assert outcome.kind is ErrorKind.CONFIG
                assert outcome.failure is not None
                assert "payload_signing: sha256" in outcome.failure.hint
            return
        async with await Harness.open([place], server.environ, s3=options) as harness:
            for size in (0, 1, 16 * 1024, 256 * 1024, 256 * 1024 + 1, 2_000_000):
                outcome = await harness(put("k", noise(size)))
                assert outcome.ok, outcome.failure
                assert outcome.moved == size
                sink = Collected()
                assert (await harness(Request(op=Op.GET, key="k", sink=sink))).ok
                assert bytes(sink.data) == noise(size)
            assert (await harness(Request(op=Op.LIST))).ok
            assert (await harness(Request(op=Op.DELETE, key="k"))).ok

    run_on("uvloop", work())


def test_pages_of_a_listing(server: Server) -> None:
    async def work() -> None:
        async with await Harness.open([server.at("list/")], server.environ) as harness:
            wanted = {f"d{n % 3}/o {n:03}&<é>": n % 5 for n in range(40)}
            for key, size in wanted.items():
                assert (await harness(put(key, noise(size)))).ok
            calls = S3Calls(cast(WireConnection, harness.engine.connections[0]))
            pages = [page async for page in calls.pages("", page=9)]
            assert len(pages) == 5
            assert dict(entry for page in pages for entry in page.objects) == wanted
            assert {key for page in [p async for p in calls.pages("d1/")] for key, _ in page.objects} == {
                key for key in wanted if key.startswith("d1/")
            }
            grouped = [page async for page in calls.pages("", delimiter="/")]
            assert [prefix for page in grouped for prefix in page.prefixes] == ["d0/", "d1/", "d2/"]
            async for page in calls.pages("nothing/"):
                assert page.objects == ()

    run_on("uvloop", work())


def test_uploads_in_parts(server: Server) -> None:
    data = noise(11 * MIB)

    async def work() -> None:
        async with await Harness.open([server.at("parts/")], server.environ, connections=[2]) as harness:
            first, second = (S3Calls(cast(WireConnection, each)) for each in harness.engine.connections)
            upload = await first.create_upload("ü big")
            cuts = [data[at : at + 5 * MIB] for at in range(0, len(data), 5 * MIB)]
            etags = await asyncio.gather(
                first.upload_part("ü big", upload, 1, Bytes(cuts[0])),
                second.upload_part("ü big", upload, 2, Bytes(cuts[1])),
            )
            third = await second.upload_part("ü big", upload, 3, Bytes(cuts[2]))
            all_etags = [*etags, third]
            assert all(all_etags)
            await first.complete_upload("ü big", upload, all_etags)
            sink = Collected()
            assert (await harness(Request(op=Op.GET, key="ü big", sink=sink))).ok
            assert bytes(sink.data) == data
            upload = await first.create_upload("dropped")
            await first.upload_part("dropped", upload, 1, Bytes(b"x" * 1000))
            await first.abort_upload("dropped", upload)
            assert (await harness(Request(op=Op.STAT, key="dropped"))).kind is ErrorKind.NOT_FOUND
            with pytest.raises(StorageError):
                await first.complete_upload("dropped", upload, ["nonsense"])
            assert (await harness(put("after", b"x"))).ok
            # Calls are awaited: only the two plain GETs, the STAT and the PUT were told to on_done.
            assert len(harness.outcomes) == 3

    run_on("uvloop", work())


def test_open_uploads_are_listed_and_ended(server: Server) -> None:
    place = server.at("open ü/")

    async def work() -> None:
        async with (
            await Harness.open([place], server.environ) as harness,
            ControlPlane(place, server.environ) as control,
        ):
            calls = S3Calls(cast(WireConnection, harness.engine.connections[0]))
            made = [(key, await calls.create_upload(key)) for key in ("a&<é> %41/x", "a&<é> %41/x", "b")]
            await calls.upload_part("b", made[2][1], 1, Bytes(b"x" * 1000))
            found = [each async for each in open_uploads(control, "", page=2)]
            assert sorted((each.key, each.upload) for each in found) == sorted(made)
            # By the clock of the storage, at the least; moto says that all was begun long ago.
            assert all(-2 <= each.age_s < 60 or server.name == "moto" for each in found)
            below = [each async for each in open_uploads(control, "a&")]
            assert {each.key for each in below} == {"a&<é> %41/x"}
            assert [await abort_upload(control, each) for each in below] == [True, True]
            assert not await abort_upload(control, below[0])
            assert [each.key async for each in open_uploads(control, "")] == ["b"]
            assert [each async for each in open_uploads(control, "nothing/")] == []
            with pytest.raises(StorageError):
                await calls.complete_upload(below[0].key, below[0].upload, ["nonsense"])

    run_on("uvloop", work())


def test_deletes_in_batches(server: Server) -> None:
    async def work() -> None:
        async with await Harness.open([server.at("batch/")], server.environ) as harness:
            keys = [f"o & <{n}> é" for n in range(30)]
            for key in keys:
                assert (await harness(put(key, b"x"))).ok
            calls = S3Calls(cast(WireConnection, harness.engine.connections[0]))
            assert await calls.delete_batch([*keys[:20], "never there"]) == {}
            left = {key for page in [p async for p in calls.pages("")] for key, _ in page.objects}
            assert left == set(keys[20:])

    run_on("uvloop", work())


def test_wrong_bucket_is_named(server: Server) -> None:
    place = replace(server.endpoint, bucket="no-such-bucket-here", uri="s3://none/")

    async def work() -> None:
        async with await Harness.open([place], server.environ) as harness:
            for request in (put("k", b"x"), Request(op=Op.LIST), Request(op=Op.GET, key="k")):
                outcome = await harness(request)
                assert outcome.kind is ErrorKind.NOT_FOUND, outcome.failure
            with pytest.raises(StorageError) as raised:
                await S3Calls(cast(WireConnection, harness.engine.connections[0])).create_upload("k")
            assert raised.value.kind is ErrorKind.NOT_FOUND

    run_on("uvloop", work())


def test_limits_by_arithmetic() -> None:
    assert part_sizes(11 * MIB, 5 * MIB) == [5 * MIB, 5 * MIB, MIB]
    assert part_sizes(0, 5 * MIB) == [0]
    assert sum(part_sizes(MAX_OBJECT_BYTES, 5 * 1024 * MIB)) == MAX_OBJECT_BYTES
    assert len(part_sizes(MAX_PARTS * MIN_PART_BYTES, MIN_PART_BYTES)) == MAX_PARTS
    assert part_sizes(3 * MAX_PUT_BYTES, MAX_PUT_BYTES) == [MAX_PUT_BYTES] * 3
    with pytest.raises(ConfigError, match="5 GiB"):
        part_sizes(3 * MAX_PUT_BYTES, MAX_PUT_BYTES + 1)
    with pytest.raises(ConfigError, match="parts"):
        part_sizes(MAX_PARTS * MIN_PART_BYTES + 1, MIN_PART_BYTES)
    with pytest.raises(ConfigError, match="5 TiB"):
        part_sizes(MAX_OBJECT_BYTES + 1, MAX_PUT_BYTES)
    with pytest.raises(ConfigError, match="5 MiB"):
        part_sizes(100, MIN_PART_BYTES - 1)
    with pytest.raises(ConfigError, match="1 to 1000"):
        batch_request(["k"] * 1001)
    with pytest.raises(ConfigError, match="XML"):
        batch_request(["a\x01"])
