"""Every engine keeps the one contract: against a real S3 server, files, and nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from sai3tui.config.locations import parse_location
from sai3tui.config.ops import Op
from sai3tui.errors import ConfigError, ErrorKind, StorageError
from sai3tui.storage.control import open_control
from sai3tui.storage.engine import Endpoint, EngineOptions, Request
from sai3tui.storage.open import endpoint_from_location, make_engine
from tests.engine_harness import Harness, noise, put, run_on
from tests.fault_server import CREDENTIALS, OK_EMPTY
from tests.servers import ServerUnderTest

DATA = Path(__file__).parent / "data"
SIZES = [0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3_000_000]
AWKWARD = [
    "a b+c&d=e?f#g%41",
    "ünïcode/日本/x",
    "~._-/!*'();:@$,[]",
    "'quoted\"",
    "a/b/c/d/e/f.dat",
    "%2F",
    ".hidden",
    "x..y",
]


def ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@dataclass
class Target:
    """Where an engine under test works, and on which loop."""

    loop: str
    engine: str
    endpoint: Endpoint
    environ: Mapping[str, str]

    async def open(self, connections: int = 1) -> Harness:
        return await Harness.open([self.endpoint], self.environ, name=self.engine, connections=[connections])


@pytest.fixture(params=["wire-asyncio", "wire-uvloop", "boto-asyncio", "file-asyncio", "file-uvloop"])
def target(request: pytest.FixtureRequest, s3_server: ServerUnderTest, tmp_path: Path) -> Target:
    engine, loop = request.param.split("-")
    if engine == "file":
        return Target(loop, "wire", endpoint_from_location(parse_location(f"file://{tmp_path}/new/"), {}), {})
    bucket = s3_server.bucket("storage-engines")
    location = parse_location(f"s3://{s3_server.host_port}/{bucket}/{tmp_path.name.replace('_', '-')}/")
    return Target(loop, engine, endpoint_from_location(location, {}), s3_server.environ())


def test_objects_come_back_whole_and_go(target: Target) -> None:
    async def work() -> None:
        async with await target.open() as harness, open_control(target.endpoint, target.environ) as control:
            for size in SIZES:
                key, data = f"d/{size}.dat", noise(size)
                outcome = await harness(put(key, data))
                assert outcome.ok, outcome.failure
                assert outcome.moved == size
                assert await control.get(key) == data
                outcome = await harness(Request(op=Op.GET, key=key))
                assert outcome.ok, outcome.failure
                assert outcome.moved == size
                assert 0 < outcome.t0 <= outcome.t_first <= outcome.t_last
            assert {key async for key, _ in control.list("")} == {f"d/{size}.dat" for size in SIZES}
            for op in (Op.STAT, Op.LIST):
                outcome = await harness(Request(op=op, key="d/1000.dat" if op is Op.STAT else "d/"))
                assert outcome.ok, outcome.failure
                assert outcome.moved == 0
            assert (await harness(Request(op=Op.DELETE, key="d/1000.dat"))).ok
            assert await control.head("d/1000.dat") is None
            for op in (Op.GET, Op.STAT):
                outcome = await harness(Request(op=op, key="d/1000.dat", index=5))
                assert outcome.kind is ErrorKind.NOT_FOUND
                assert outcome.failure is not None
                assert outcome.failure.context.uri == target.endpoint.uri + "d/1000.dat"
                assert outcome.failure.context.object_index == 5
                assert outcome.moved == 0

    run_on(target.loop, work())


def test_awkward_keys(target: Target) -> None:
    async def work() -> None:
        async with await target.open() as harness, open_control(target.endpoint, target.environ) as control:
            for number, key in enumerate(AWKWARD):
                outcome = await harness(put(key, noise(number + 1)))
                assert outcome.ok, outcome.failure
                assert await control.head(key) == number + 1
                assert (await harness(Request(op=Op.GET, key=key))).moved == number + 1
            listed = {key: size async for key, size in control.list("")}
            assert listed == {key: number + 1 for number, key in enumerate(AWKWARD)}

    run_on(target.loop, work())


def test_a_shorter_object_replaces_a_longer_one(target: Target) -> None:
    async def work() -> None:
        async with await target.open() as harness:
            for size in (100_000, 10, 0):
                assert (await harness(put("k", noise(size)))).ok
                assert (await harness(Request(op=Op.GET, key="k"))).moved == size

    run_on(target.loop, work())


def test_many_connections_at_once(target: Target) -> None:
    async def work() -> None:
        async with await target.open(8) as harness:
            # Directories one by one: rclone takes two PUTs that make one directory at once for an error.
            for n in range(8):
                assert (await harness(put(f"{n}/first", b"x"), n)).ok
            for turn in range(5):
                puts = [harness.start(put(f"{n}/{turn}", noise(5000 + n)), n) for n in range(8)]
                assert all(outcome.ok for outcome in await asyncio.wait_for(asyncio.gather(*puts), 15))
                gets = [harness.start(Request(op=Op.GET, key=f"{n}/{turn}"), n) for n in range(8)]
                moved = [outcome.moved for outcome in await asyncio.wait_for(asyncio.gather(*gets), 15)]
                assert moved == [5000 + n for n in range(8)]
            assert len(harness.outcomes) == 88

    run_on(target.loop, work())


def test_cancelling_everything_and_going_on(target: Target) -> None:
    async def work() -> None:
        async with await target.open(4) as harness:
            for _ in range(5):
                futures = [harness.start(put(f"{n}", noise(1_000_000)), n) for n in range(4)]
                await asyncio.sleep(0)
                for connection in harness.engine.connections:
                    connection.cancel()
                for future in futures:
                    assert future.done()
                    assert future.result().ok or future.result().subclass == "cancelled"
            for n in range(4):
                assert (await harness(put(f"{n}", noise(2000)), n)).ok
                assert (await harness(Request(op=Op.GET, key=f"{n}"), n)).moved == 2000
            assert len(harness.outcomes) == 28

    run_on(target.loop, work())


def test_directories_are_for_files_only(target: Target) -> None:
    async def work() -> None:
        async with await target.open() as harness:
            made = await harness(Request(op=Op.MKDIR, key="some/dir"))
            gone = await harness(Request(op=Op.RMDIR, key="some/dir"))
            if target.endpoint.scheme == "file":
                assert made.ok
                assert gone.ok
            else:
                assert made.kind is gone.kind is ErrorKind.CONFIG
                assert (await harness(put("k", b"x"))).ok

    run_on(target.loop, work())


def test_wrong_secret_is_an_auth_failure(s3_server: ServerUnderTest) -> None:
    endpoint = endpoint_from_location(
        parse_location(f"s3://{s3_server.host_port}/{s3_server.bucket('storage-auth')}/"), {}
    )
    for changed in ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-0"}, {"AWS_ACCESS_KEY_ID": "unknown-key-0"}):

        async def work(environ: Mapping[str, str]) -> None:
            for name in ("wire", "boto"):
                async with await Harness.open([endpoint], environ, name=name) as harness:
                    outcome = await harness(Request(op=Op.GET, key="k"))
                    assert outcome.kind is ErrorKind.AUTH, outcome.failure
                    assert outcome.failure is not None
                    assert "AWS_" in outcome.failure.hint

        run_on("uvloop", work({**s3_server.environ(), **changed}))


def test_connections_are_dealt_over_endpoints(s3_server: ServerUnderTest) -> None:
    bucket = s3_server.bucket("storage-deal")
    places = [endpoint_from_location(parse_location(f"s3://{h}/{bucket}/"), {}) for h in s3_server.host_ports]

    async def work() -> None:
        async with await Harness.open(places, s3_server.environ(), connections=[3, 2]) as harness:
            assert [connection.endpoint for connection in harness.engine.connections] == [0, 1, 0, 1, 0]
            for n in range(5):
                assert (await harness(put(f"{n}", b"abc"), n)).ok
        assert set(s3_server.keys(bucket)) == {"0", "1", "2", "3", "4"}

    run_on("uvloop", work())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tls(loop: str, host: str) -> None:
    if host == "::1" and not ipv6_loopback():
        pytest.skip("this host has no IPv6 loopback")
    sizes = [0, 1000, 3_000_000]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in sizes:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(size)
            writer.write(OK_EMPTY)
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + noise(3_000_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def work() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(DATA / "tls-test-cert.pem", DATA / "tls-test-key.pem")
        server = await asyncio.start_server(serve, host, 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        place = Endpoint("s3+https://server/b/", "s3", host, port, "b", "", True)
        trusting = {**CREDENTIALS, "AWS_CA_BUNDLE": str(DATA / "tls-test-cert.pem")}
        async with await Harness.open([place], trusting) as harness:
            for size in sizes:
                outcome = await harness(put("k", noise(size)))
                assert outcome.ok, outcome.failure
            assert (await harness(Request(op=Op.GET, key="k"))).moved == 3_000_000
        async with await Harness.open([place], CREDENTIALS) as harness:
            outcome = await harness(Request(op=Op.GET, key="k"))
            assert (outcome.kind, outcome.subclass) == (ErrorKind.CONFIG, "tls"), outcome.failure
            assert outcome.failure is not None
            assert "AWS_CA_BUNDLE" in outcome.failure.hint
        server.close()

    run_on(loop, work())


def test_unusable_ca_file_and_missing_credentials_are_errors_of_open(tmp_path: Path) -> None:
    place = Endpoint("s3+https://h/b/", "s3", "h", 443, "b", "", True)

    async def work(environ: Mapping[str, str]) -> None:
        await Harness.open([place], environ)

    with pytest.raises(StorageError, match="CA file"):
        run_on("uvloop", work({**CREDENTIALS, "AWS_CA_BUNDLE": str(tmp_path / "none.pem")}))
    with pytest.raises(StorageError, match="half of the S3 key pair") as raised:
        run_on("uvloop", work({"AWS_ACCESS_KEY_ID": "only-this"}))
    assert raised.value.kind is ErrorKind.AUTH


def test_null_engine_keeps_the_contract() -> None:
    place = Endpoint("s3://b/", "s3", "h", 1, "b")

    async def work() -> None:
        async with await Harness.open([place], {}, name="null", connections=[2]) as harness:
            request = put("k", noise(600_000))
            outcome = await harness(request)
            assert (outcome.ok, outcome.moved) == (True, 600_000)
            assert request.body.pieces == 3  # type: ignore[union-attr]
            assert (await harness(Request(op=Op.GET, key="k", size=77))).moved == 77
            assert (await harness(Request(op=Op.STAT, key="k", size=77))).moved == 0
            future = harness.start(request)
            with pytest.raises(RuntimeError):
                harness.engine.connections[0].issue(request)
            harness.engine.connections[0].cancel()
            assert future.result().subclass == "cancelled"
            assert (await harness(request)).ok

    run_on("uvloop", work())


@pytest.mark.parametrize(
    ("environ", "host", "port", "tls"),
    [
        ({}, "s3.us-east-1.amazonaws.com", 443, True),
        ({"AWS_REGION": "eu-west-3"}, "s3.eu-west-3.amazonaws.com", 443, True),
        ({"AWS_ENDPOINT_URL": "http://10.0.0.1:9000"}, "10.0.0.1", 9000, False),
        ({"AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_S3": "https://y"}, "y", 443, True),
    ],
)
def test_bare_bucket_takes_its_host_from_the_environment(
    environ: Mapping[str, str], host: str, port: int, tls: bool
) -> None:
    endpoint = endpoint_from_location(parse_location("s3://some-bucket/a/b/"), environ)
    assert endpoint == Endpoint("s3://some-bucket/a/b/", "s3", host, port, "some-bucket", "a/b/", tls)
    fixed = endpoint_from_location(parse_location("s3://10.9.0.21:9000/some-bucket/"), environ)
    assert (fixed.host, fixed.port, fixed.tls) == ("10.9.0.21", 9000, False)


def test_schemes_and_engines_that_do_not_exist() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ConfigError, match="az://"):
            make_engine("az", "wire", EngineOptions(loop), {})
        with pytest.raises(ConfigError, match="warp"):
            make_engine("s3", "warp", EngineOptions(loop), {})
        with pytest.raises(ConfigError, match="gs://"):
            endpoint_from_location(parse_location("gs://b/"), {})
    finally:
        loop.close()
