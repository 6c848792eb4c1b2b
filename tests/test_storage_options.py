"""What can be chosen about requests and files does what it says, and costs nothing where it is not chosen."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sai3tui.config.load import load_config
from sai3tui.config.locations import parse_location
from sai3tui.config.ops import Op
from sai3tui.config.storage_options import (
    Addressing,
    Checksum,
    FileOptions,
    Fsync,
    PageCacheMode,
    PayloadSigning,
    S3Options,
)
from sai3tui.errors import ConfigError, ErrorKind, Sai3Error, StorageError
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.fileops import ALIGNMENT, TEMPORARY, sync_filesystem
from sai3tui.storage.open import endpoint_from_location
from sai3tui.workload.verify import CorruptError
from tests.engine_harness import Bytes, Collected, Harness, noise, put, run_on
from tests.fault_server import CREDENTIALS, OK_EMPTY, FaultServer, Step, answer, chunked, error_document

DATA = Path(__file__).parent / "data"
CERTIFICATE = str(DATA / "tls-test-cert.pem")


class TlsServer:
    """Answers every request with 200 and closes the connection; knows which sessions were resumed."""

    def __init__(self) -> None:
        self.resumed: list[bool] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.resumed.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def with_tls(options: S3Options, environ: Mapping[str, str], times: int) -> tuple[list[Any], list[bool]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / "tls-test-cert.pem", DATA / "tls-test-key.pem")
    tls = TlsServer()
    server = await asyncio.start_server(tls.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    place = Endpoint("s3+https://server/b/", "s3", "127.0.0.1", port, "b", "", True)
    async with server, await Harness.open([place], {**CREDENTIALS, **environ}, s3=options) as harness:
        found = [await harness(Request(op=Op.GET, key="k")) for _ in range(times)]
    return found, tls.resumed


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_sessions_are_resumed(loop: str) -> None:
    found, resumed = run_on(loop, with_tls(S3Options(ca_file=CERTIFICATE), {}, 4))
    assert all(outcome.ok for outcome in found), found
    assert resumed == [False, True, True, True]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_trusted(loop: str) -> None:
    found, _ = run_on(loop, with_tls(S3Options(), {}, 1))
    assert (found[0].kind, found[0].subclass) == (ErrorKind.CONFIG, "tls")
    found, _ = run_on(loop, with_tls(S3Options(tls_verify=False), {}, 2))
    assert all(outcome.ok for outcome in found)
    found, _ = run_on(loop, with_tls(S3Options(), {"AWS_CA_BUNDLE": CERTIFICATE}, 1))
    assert found[0].ok
    with pytest.raises(StorageError, match="CA file"):
        run_on(loop, with_tls(S3Options(ca_file="/nowhere/ca.pem"), {"AWS_CA_BUNDLE": CERTIFICATE}, 1))


def exchange(steps: list[Step], request: Request, options: S3Options | None = None) -> tuple[Any, FaultServer]:
    async def work() -> tuple[Any, FaultServer]:
        async with (
            FaultServer(steps) as server,
            await Harness.open([server.endpoint], CREDENTIALS, s3=options) as harness,
        ):
            return await harness(request), server

    return run_on("uvloop", work())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_body_waits_for_leave_only_where_that_was_asked_for(loop: str) -> None:
    data = noise(600_000)
    for above, size, expected in [(-1, 600_000, False), (1000, 1000, False), (1000, 1001, True), (0, 600_000, True)]:
        outcome, server = exchange([Step()], put("k", data[:size]), S3Options(expect_above=above))
        assert outcome.ok, outcome.failure
        assert (b"100-continue" in server.heads[0]) == expected
        assert server.bodies == [data[:size]]


def test_a_refusal_instead_of_leave_ends_the_operation_without_its_body() -> None:
    refusal = answer(error_document("AccessDenied"), "403 Forbidden")
    outcome, server = exchange([Step(refusal, read_body=False)], put("k", noise(600_000)), S3Options(expect_above=0))
    assert outcome.kind is ErrorKind.PERMISSION
    assert server.bodies == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("status", ["417 Expectation Failed", "503 Slow Down", "301 Moved Permanently"])
def test_any_other_answer_than_leave_is_the_operations(loop: str, status: str) -> None:
    async def work() -> None:
        steps = [Step(answer(b"", status), read_body=False), Step()]
        async with (
            FaultServer(steps) as server,
            await Harness.open([server.endpoint], CREDENTIALS, s3=S3Options(expect_above=0)) as harness,
        ):
            outcome = await harness(put("k", noise(300_000)))
            assert outcome.failure is not None
            assert outcome.failure.context.http_status == int(status[:3])
            assert (await harness(put("k", noise(300_000)))).ok, "the next one has a connection of its own"
            assert server.connections == 2
            assert server.bodies == [noise(300_000)]

    run_on(loop, work())


def test_leave_in_two_parts_after_other_news() -> None:
    data = noise(300_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Cont")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"inue\r\n\r\n")
        assert await reader.readexactly(len(data)) == data
        writer.write(OK_EMPTY)
        await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        place = Endpoint("s3://x/", "s3", "127.0.0.1", server.sockets[0].getsockname()[1], "bucket")
        async with server, await Harness.open([place], CREDENTIALS, s3=S3Options(expect_above=0)) as harness:
            assert (await harness(put("k", data))).ok

    run_on("uvloop", work())


def test_a_storage_that_never_gives_leave_gets_the_body_all_the_same() -> None:
    data = noise(300_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(data)) == data
        writer.write(OK_EMPTY)
        await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        place = Endpoint("s3://x/", "s3", "127.0.0.1", server.sockets[0].getsockname()[1], "bucket")
        async with server, await Harness.open([place], CREDENTIALS, s3=S3Options(expect_above=0)) as harness:
            assert (await harness(put("k", data))).ok

    run_on("uvloop", work())


def test_virtual_addressing_puts_the_bucket_before_the_host() -> None:
    async def work() -> None:
        async with FaultServer([Step(), Step()]) as server:
            place = Endpoint("s3://x/", "s3", "localhost", server.endpoint.port, "some-bucket", "pre/")
            options = S3Options(addressing=Addressing.VIRTUAL)
            async with await Harness.open([place], CREDENTIALS, s3=options) as harness:
                assert (await harness(Request(op=Op.GET, key="k"))).ok
                await harness(Request(op=Op.LIST))
            assert server.heads[0].startswith(b"GET /pre/k HTTP/1.1\r\n")
            assert server.heads[1].startswith(b"GET /?list-type=2&max-keys=1000&prefix=pre%2F HTTP/1.1\r\n")
            assert all(b"\r\nHost: some-bucket.localhost:" in head for head in server.heads)
            with pytest.raises(ConfigError, match="address"):
                await Harness.open([server.endpoint], CREDENTIALS, s3=options)

    run_on("uvloop", work())


class Refusing(Collected):
    """A sink that dislikes what begins at an offset."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def take(self, offset: int, data: memoryview) -> None:
        super().take(offset, data)
        if len(self.data) > self.at:
            raise CorruptError(f"wrong at {self.at}")

    def end(self, size: int) -> None:
        if self.at == size:
            raise CorruptError("wrong at the end")


@pytest.mark.parametrize("at", [0, 5000, 99_999, 100_000])
@pytest.mark.parametrize("coding", ["length", "chunked", "close"])
def test_a_sink_that_refuses_makes_the_operation_corrupt_and_the_next_one_works(at: int, coding: str) -> None:
    data = noise(100_000)
    wire = {
        "length": answer(data),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(data, 10, 7000),
        "close": b"HTTP/1.0 200 OK\r\n\r\n" + data,
    }[coding]
    then = "close" if coding == "close" else "keep"

    async def work() -> None:
        async with (
            FaultServer([Step(wire, then), Step(wire, then), Step(wire, then)]) as server,
            await Harness.open([server.endpoint], CREDENTIALS) as harness,
        ):
            outcome = await harness(Request(op=Op.GET, key="k", index=8, sink=Refusing(at)))
            assert outcome.kind is ErrorKind.CORRUPT
            assert outcome.failure is not None
            assert outcome.failure.context.object_index == 8
            assert outcome.failure.context.uri.endswith("/k")
            sink = Collected()
            assert (await harness(Request(op=Op.GET, key="k", sink=sink))).ok
            assert (bytes(sink.data), sink.ended) == (data, 100_000)
            assert (await harness(Request(op=Op.GET, key="k"))).moved == 100_000

    run_on("uvloop", work())


def test_a_range_that_is_ignored_is_a_failure() -> None:
    request = Request(op=Op.GET, key="k", offset=10, length=20)
    outcome, server = exchange([Step(answer(noise(100)))], request)
    assert (outcome.kind, outcome.subclass) == (ErrorKind.STORAGE, "malformed")
    assert b"\r\nrange: bytes=10-29\r\n" in server.heads[0]
    outcome, _ = exchange([Step(answer(noise(20), "206 Partial Content", "Content-Range: bytes 11-30/100"))], request)
    assert outcome.subclass == "malformed"
    outcome, _ = exchange([Step(answer(noise(20), "206 Partial Content", "Content-Range: bytes 10-29/100"))], request)
    assert (outcome.ok, outcome.moved) == (True, 20)


# --- files ----------------------------------------------------------------------------------------------------------


def file_place(directory: Path, scheme: str = "file") -> Endpoint:
    return endpoint_from_location(parse_location(f"{scheme}://{directory}/"), {})


@pytest.mark.parametrize("mode", list(PageCacheMode))
@pytest.mark.parametrize("fsync", list(Fsync))
@pytest.mark.parametrize("atomic", [False, True])
def test_files_come_back_whatever_is_chosen(mode: PageCacheMode, fsync: Fsync, atomic: bool, tmp_path: Path) -> None:
    async def work() -> None:
        options = FileOptions(mode, fsync, atomic)
        async with await Harness.open([file_place(tmp_path)], {}, files=options) as harness:
            for size in (0, 1, 5000, 700_000):
                data = noise(size)
                assert (await harness(put("d/k", data))).ok
                sink = Collected()
                assert (await harness(Request(op=Op.GET, key="d/k", sink=sink))).ok
                assert (bytes(sink.data), sink.ended) == (data, size)
            sink = Collected()
            outcome = await harness(Request(op=Op.GET, key="d/k", offset=5, length=300_000, sink=sink))
            assert (outcome.moved, bytes(sink.data)) == (300_000, data[5:300_005])
            outcome = await harness(Request(op=Op.GET, key="d/k", sink=Refusing(400_000)))
            assert outcome.kind is ErrorKind.CORRUPT
        assert os.listdir(tmp_path / "d") == ["k"]

    run_on("uvloop", work())


class Broken(Bytes):
    def piece(self, offset: int, length: int) -> memoryview:
        if offset:
            raise ConfigError("no more")
        return super().piece(offset, length)


def test_an_atomic_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    async def work() -> None:
        async with await Harness.open([file_place(tmp_path)], {}, files=FileOptions(atomic=True)) as harness:
            assert (await harness(put("k", b"before"))).ok
            broken = Request(op=Op.PUT, key="k", size=600_000, body=Broken(noise(600_000)))
            assert not (await harness(broken)).ok
        assert (tmp_path / "k").read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["k"]

    run_on("uvloop", work())
    (tmp_path / f"k.1{TEMPORARY}").write_bytes(b"left by a dead process")

    async def listed() -> None:
        async with await Harness.open([file_place(tmp_path)], {}) as harness:
            assert (await harness(Request(op=Op.LIST))).ok

    run_on("uvloop", listed())


def supports_direct(directory: Path) -> bool:
    try:
        os.close(os.open(directory / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    (directory / "probe").unlink()
    return True


@pytest.mark.parametrize("atomic", [False, True])
def test_direct_files(tmp_path: Path, atomic: bool) -> None:
    if not supports_direct(tmp_path):
        pytest.skip("this file system has no O_DIRECT")

    async def work() -> None:
        place = file_place(tmp_path, "direct")
        async with await Harness.open([place], {}, files=FileOptions(atomic=atomic)) as harness:
            for size in (0, 1, ALIGNMENT, ALIGNMENT + 1, 256 * 1024, 700_001):
                data = noise(size)
                outcome = await harness(put("k", data))
                assert outcome.ok, outcome.failure
                assert (tmp_path / "k").read_bytes() == data
                sink = Collected()
                outcome = await harness(Request(op=Op.GET, key="k", sink=sink))
                assert outcome.ok, outcome.failure
                assert (bytes(sink.data), outcome.moved) == (data, size)
            for offset, length in [(0, 1), (4095, 2), (5, 300_000), (262_143, 262_145), (700_000, 10), (800_000, 5)]:
                sink = Collected()
                outcome = await harness(Request(op=Op.GET, key="k", offset=offset, length=length, sink=sink))
                assert outcome.ok, outcome.failure
                assert bytes(sink.data) == data[offset : offset + length]

    run_on("uvloop", work())


def test_a_file_system_without_o_direct_says_so() -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or supports_direct(shared):
        pytest.skip("no file system without O_DIRECT here")
    name = f"sai3tui-test-{os.getpid()}"

    async def work() -> None:
        async with await Harness.open([file_place(shared, "direct")], {}) as harness:
            outcome = await harness(put(name, noise(5000)))
            assert outcome.kind is ErrorKind.CONFIG
            assert outcome.failure is not None
            assert "O_DIRECT" in outcome.failure.message
            assert "file://" in outcome.failure.hint

    try:
        run_on("uvloop", work())
    finally:
        (shared / name).unlink(missing_ok=True)


def test_a_file_system_is_synced(tmp_path: Path) -> None:
    sync_filesystem(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_filesystem(str(tmp_path / "none"))


# --- the configuration ----------------------------------------------------------------------------------------------


def test_options_are_read_and_wrong_words_are_named() -> None:
    base = "target: s3://b/\nduration: 1s\nworkload: [{op: get, path: x/*, weight: 1}]\n"
    text = base + (
        "payload_signing: sha256\nchecksum: crc64nvme\naddressing: virtual\ntls_verify: false\nca_file: /x.pem\n"
        "expect_continue_above: 1MiB\nfsync: per_object\natomic_create: true\npage_cache_mode: dontneed\n"
    )
    config = load_config(text, "t.yaml").require()
    assert config.s3 == S3Options(
        PayloadSigning.SHA256, Checksum.CRC64NVME, Addressing.VIRTUAL, False, "/x.pem", 1024 * 1024
    )
    assert config.files == FileOptions(PageCacheMode.DONTNEED, Fsync.PER_OBJECT, True)
    # Warnings go into the plan and the results.
    assert [problem.code for problem in load_config(text, "t.yaml").problems] == ["tls"]
    assert load_config(base, "t.yaml").require().s3 == S3Options()
    with pytest.raises(Sai3Error, match="checksum"):
        load_config(base + "checksum: md5\n", "t.yaml").require()
