"""Single calls to the storage: S3 and files give the same answers and say what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from sai3tui.config.locations import parse_location
from sai3tui.config.ops import Op
from sai3tui.errors import ConfigError, ErrorKind, StorageError
from sai3tui.storage.control import ControlPlane, open_control
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.open import endpoint_from_location
from tests.engine_harness import Harness, noise, put
from tests.fault_server import CREDENTIALS, FaultServer, Step, answer, error_document
from tests.servers import ServerUnderTest

Place = tuple[Endpoint, Mapping[str, str]]


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, s3_server: ServerUnderTest, tmp_path: Path) -> Place:
    if request.param == "file":
        return endpoint_from_location(parse_location(f"file://{tmp_path}/base/"), {}), {}
    bucket = s3_server.bucket("storage-control")
    uri = f"s3://{s3_server.host_port}/{bucket}/{tmp_path.name}/"
    return endpoint_from_location(parse_location(uri), {}), s3_server.environ()


async def test_objects(place: Place) -> None:
    async with open_control(*place) as control:
        await control.head_bucket()
        assert [entry async for entry in control.list("")] == []
        data = noise(700_000)
        await control.put("a/ü b.dat", data)
        await control.put("a/ü b.dat", data[:500_000])
        assert await control.get("a/ü b.dat") == data[:500_000]
        assert await control.head("a/ü b.dat") == 500_000
        await control.put("empty", b"")
        assert await control.get("empty") == b""
        assert await control.get("none") is None
        assert await control.head("none") is None
        await control.delete("none")
        assert {entry async for entry in control.list("")} == {("a/ü b.dat", 500_000), ("empty", 0)}
        assert [entry async for entry in control.list("a/")] == [("a/ü b.dat", 500_000)]
        assert [entry async for entry in control.list("em")] == [("empty", 0)]
        assert [entry async for entry in control.list("none/")] == []
        await control.delete("empty")
        assert await control.head("empty") is None


async def test_more_than_one_page(place: Place) -> None:
    endpoint, environ = place
    async with (
        await Harness.open([endpoint], environ, connections=[10]) as harness,
        open_control(endpoint, environ) as control,
    ):
        # Directories one by one: rclone takes two PUTs that make one directory at once for an error.
        for n in range(10):
            assert (await harness(put(f"d{n}/first", b"x"), n)).ok
        for row in range(209):
            outcomes = await asyncio.gather(*[harness(put(f"d{n}/{row}", b"x"), n) for n in range(10)])
            assert all(outcome.ok for outcome in outcomes)
        keys = [key async for key, _ in control.list("")]
    assert len(keys) == len(set(keys)) == 2100


async def test_what_is_not_s3_is_said_to_be_none() -> None:
    page = answer(b"Welcome! This is no storage.")
    async with FaultServer([Step(page)] * 3) as server, ControlPlane(server.endpoint, CREDENTIALS) as control:
        with pytest.raises(StorageError, match="not XML") as raised:
            await control.ask("get_bucket_location", Op.LIST, "")
        assert server.endpoint.uri in raised.value.failure().sentence()
    assert "is this an S3 endpoint" in raised.value.hint
    assert raised.value.failure().causes


async def test_missing_bucket(s3_server: ServerUnderTest) -> None:
    endpoint = endpoint_from_location(parse_location(f"s3://{s3_server.host_port}/no-such-bucket/"), {})
    async with ControlPlane(endpoint, s3_server.environ()) as control:
        with pytest.raises(StorageError, match="'no-such-bucket' does not exist") as raised:
            await control.head_bucket()
        assert raised.value.kind is ErrorKind.NOT_FOUND
        assert "create" in raised.value.hint
        assert raised.value.failure().causes
        with pytest.raises(StorageError) as raised:
            await control.put("k", b"x")
        assert raised.value.kind is ErrorKind.NOT_FOUND
        with pytest.raises(StorageError):
            [entry async for entry in control.list("")]


async def test_wrong_secret_is_named_although_a_head_has_no_body(s3_server: ServerUnderTest) -> None:
    endpoint = endpoint_from_location(
        parse_location(f"s3://{s3_server.host_port}/{s3_server.bucket('storage-control')}/"), {}
    )
    environ = {**s3_server.environ(), "AWS_SECRET_ACCESS_KEY": "wrong-secret-0"}
    async with ControlPlane(endpoint, environ) as control:
        with pytest.raises(StorageError) as raised:
            await control.head_bucket()
    assert raised.value.kind is ErrorKind.AUTH
    assert "AWS_SECRET_ACCESS_KEY" in raised.value.hint


async def test_no_server_there() -> None:
    async with FaultServer([]) as server:
        endpoint = server.endpoint
    async with ControlPlane(endpoint, CREDENTIALS, timeout=5) as control:
        with pytest.raises(StorageError) as raised:
            await control.head("k")
    failure = raised.value.failure()
    assert (failure.kind, failure.context.subclass) == (ErrorKind.NETWORK, "connect")
    assert endpoint.host in failure.sentence()
    assert failure.context.uri == endpoint.uri + "k"


async def test_a_listing_that_fails_is_never_an_empty_one() -> None:
    busy = Step(answer(error_document("SlowDown"), "503 Slow Down"))
    first = Step(
        answer(
            b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
            b"<Contents><Key>pre/a</Key><Size>5</Size></Contents></ListBucketResult>"
        )
    )
    async with FaultServer([busy, first, busy]) as server, ControlPlane(server.endpoint, CREDENTIALS) as control:
        with pytest.raises(StorageError) as raised:
            [entry async for entry in control.list("")]
        assert raised.value.kind is ErrorKind.THROTTLED
        listing = control.list("")
        assert await anext(listing) == ("a", 5)
        with pytest.raises(StorageError) as raised:
            await anext(listing)
        assert raised.value.kind is ErrorKind.THROTTLED
        assert len(server.heads) == 3, "one request a call: nothing is asked again in secret"


async def test_silence_is_bounded() -> None:
    async with (
        FaultServer([Step(b"", "hang")] * 2) as server,
        ControlPlane(server.endpoint, CREDENTIALS, timeout=0.3) as control,
    ):
        with pytest.raises(StorageError) as raised:
            await control.head("k")
    assert raised.value.kind is ErrorKind.TIMEOUT


async def test_missing_credentials() -> None:
    endpoint = Endpoint("s3://h:1/b/", "s3", "h", 1, "b")
    with pytest.raises(StorageError) as raised:
        async with ControlPlane(endpoint, {"AWS_ACCESS_KEY_ID": "only-this"}):
            pass
    assert raised.value.kind is ErrorKind.AUTH


async def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    async with open_control(endpoint_from_location(parse_location(f"file://{tmp_path}/file/d/"), {}), {}) as control:
        with pytest.raises(StorageError) as raised:
            await control.head_bucket()
    assert raised.value.kind is ErrorKind.NOT_FOUND
    with pytest.raises(ConfigError):
        open_control(Endpoint("az://x/", "az"), {})
