"""Preflight finds each of these faults, injected into a set-up that is healthy otherwise, and raises nothing on one
that is. One fault a test. `LISTED` names them all; `FAULTS` injects those of an S3 endpoint, `injects` says of a test
below which ones it does."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import resource
import shutil
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from sai3tui.access import Role
from sai3tui.agent.checks_files import Mount, forbidden, mount_of, mount_told
from sai3tui.agent.checks_host import nic_told, ports_told
from sai3tui.agent.checks_network import SLOW_MS
from sai3tui.agent.finding import Told
from sai3tui.agent.routes import interfaces_used
from sai3tui.certificates import issue, make_authority
from sai3tui.errors import StorageError
from sai3tui.events import Finding, Level
from sai3tui.processes import free_port
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.storage.engine import Endpoint
from tests.agents import running_agent, stub_of
from tests.e2e import environment, started
from tests.fault_proxy import Fault, Seen, fault_proxy, says, tells
from tests.fault_server import FaultServer, Step, answer
from tests.scripted_agent import Script, scripted_agent
from tests.servers import ServerUnderTest
from tests.test_agent_preflight import check
from tests.test_batch_run import sai3tui, write
from tests.test_controller_session import config_text

Test = TypeVar("Test", bound=Callable[..., Any])

BUCKET = "preflight-faults"
NAMESPACE = "xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"


def config_of(*places: str, extra: str = "") -> str:
    """Everything that a run can ask of an endpoint: all operations, parts, ranges, and a cleanup."""
    return f"""
concurrency: {2 * len(places)}
multi_endpoint: {{endpoints: {json.dumps(places)}}}
prepare: {{cleanup: true, ensure_objects: [{{base_uri: data/, count: 10, size_distribution: 100}}]}}
workload:
  - {{op: get, path: "data/*", weight: 1, range: {{size: 32}}}}
  - {{op: put, path: "new/", object_size: 6MiB, part_size: 5MiB, weight: 1}}
  - {{op: list, path: "data/", weight: 1}}
  - {{op: stat, path: "data/*", weight: 1}}
  - {{op: delete, path: "data/*", weight: 1, delete_many: 10}}
{extra}
"""


def odd(findings: list[Finding]) -> dict[str, Level]:
    """What is a warning or worse, by check."""
    return {f.check: f.level for f in sorted(findings, key=lambda f: f.level) if f.level >= Level.WARNING}


def probe(method: str):
    return lambda seen: seen.method == method and "/.sai3tui/probe-" in seen.path and not seen.query


def asks(setting: str):
    return lambda seen: setting in seen.query.split("&") or seen.query.startswith(setting)


def shifted_date(_seen: Seen, raw: bytes) -> bytes:
    return re.sub(rb"(?im)^Date: [^\r]*", b"Date: Mon, 01 Jan 2024 00:00:00 GMT", raw)


def corrupted(seen: Seen, raw: bytes) -> bytes:
    if not (probe("GET")(seen) and b"\r\n\r\n" in raw):
        return raw
    head, _, body = raw.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + bytes(byte ^ 1 for byte in body)


def other_size(seen: Seen, raw: bytes) -> bytes:
    return re.sub(rb"(?i)content-length: 64", b"Content-Length: 63", raw) if probe("HEAD")(seen) else raw


def full_bucket(seen: Seen, raw: bytes) -> bytes:
    """What Ceph's gateway says of a bucket with 100 bytes left of its quota."""
    if seen.method != "HEAD" or seen.is_object:
        return raw
    return raw.replace(b"\r\n", b"\r\nX-RGW-Bytes-Used: 900\r\nX-RGW-Quota-Bucket-Size: 1000\r\n", 1)


def own_namespace() -> Fault:
    """Shows only what was written through it."""
    fault = Fault()

    def before(seen: Seen) -> bytes | None:
        written = {each.path for each in fault.seen if each.method == "PUT"}
        hidden = seen.method == "GET" and "probe-" in seen.path and not seen.query and seen.path not in written
        return says("NoSuchKey", "404 Not Found", lambda _: True)(seen) if hidden else None

    fault.before = before
    return fault


LOCATION = f"<LocationConstraint {NAMESPACE}>eu-central-1</LocationConstraint>"
VERSIONED = f"<VersioningConfiguration {NAMESPACE}><Status>Enabled</Status></VersioningConfiguration>"
LIFECYCLE = (
    f"<LifecycleConfiguration {NAMESPACE}><Rule><ID>x</ID><Filter><Prefix>run</Prefix></Filter>"
    "<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
)
LOCKED = (
    f"<ObjectLockConfiguration {NAMESPACE}><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
EMPTY_LIST = f"<ListBucketResult {NAMESPACE}><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
DENIED = ("AccessDenied", "403 Forbidden")

# What is injected at the one endpoint: what finds it, and as what.
FAULTS: dict[str, tuple[Fault, str, Level]] = {
    "writing is forbidden": (Fault(says(*DENIED, probe("PUT"))), "write", Level.ERROR),
    "reading is forbidden": (Fault(says(*DENIED, probe("GET"))), "read", Level.ERROR),
    "what is read differs": (Fault(after=corrupted), "read", Level.ERROR),
    "a stat gives another size": (Fault(after=other_size), "stat", Level.ERROR),
    "a list shows nothing": (Fault(tells(EMPTY_LIST, asks("list-type=2"))), "list", Level.ERROR),
    "listing is forbidden": (Fault(says(*DENIED, asks("list-type=2"))), "list", Level.ERROR),
    "deleting is forbidden": (Fault(says(*DENIED, probe("DELETE"))), "delete", Level.ERROR),
    "deleting does nothing": (
        Fault(lambda seen: answer(b"", "204 No Content") if probe("DELETE")(seen) else None),
        "delete",
        Level.ERROR,
    ),
    "ranges are ignored": (
        Fault(lambda seen: answer(b"x" * 64) if b"\r\nrange:" in seen.head.lower() else None),
        "range",
        Level.ERROR,
    ),
    "uploads in parts are unknown": (
        Fault(says("NotImplemented", "501 Not Implemented", asks("uploads"))),
        "multipart",
        Level.ERROR,
    ),
    "parts are refused": (Fault(says(*DENIED, lambda seen: "partNumber=" in seen.query)), "multipart", Level.ERROR),
    "uploads cannot be taken back": (
        Fault(says(*DENIED, lambda seen: seen.method == "DELETE" and "uploadId=" in seen.query)),
        "multipart",
        Level.ERROR,
    ),
    "many are not deleted at once": (
        Fault(says("NotImplemented", "501 Not Implemented", asks("delete"))),
        "delete-many",
        Level.ERROR,
    ),
    "many are said to be deleted, and are not": (
        Fault(tells(f"<DeleteResult {NAMESPACE}/>", asks("delete"))),
        "delete-many",
        Level.ERROR,
    ),
    "the bucket's quota is used up": (Fault(after=full_bucket), "space", Level.ERROR),
    "the bucket is in another region": (Fault(tells(LOCATION, asks("location"))), "region", Level.WARNING),
    "the bucket keeps versions": (Fault(tells(VERSIONED, asks("versioning"))), "bucket", Level.WARNING),
    "a lifecycle rule deletes": (Fault(tells(LIFECYCLE, asks("lifecycle"))), "bucket", Level.WARNING),
    "the bucket locks objects": (Fault(tells(LOCKED, asks("object-lock"))), "bucket", Level.WARNING),
    "every answer ends the connection": (Fault(closes=True), "keepalive", Level.WARNING),
    "the storage's clock is wrong": (Fault(after=shifted_date), "clock", Level.ERROR),
}


LISTED = (
    *FAULTS,
    # credentials and the way to the storage
    "wrong secret",
    "unknown key",
    "half a key pair",
    "no bucket",
    "a name without address",
    "nobody listens",
    "no HTTP",
    "hangs up",
    "a slow round trip",
    "two storages",
    "certificate expired",
    "certificate for another name",
    "certificate of an unknown CA",
    "certificate expires soon",
    "plain HTTP",
    # hosts and files
    "too little memory",
    "too few descriptors",
    "too few ports",
    "a full data disk",
    "a slow interface",
    "a system directory",
    "a mount is missing",
    "a mount is read-only",
    "a target that others own",
    "a target that is a file",
    "a target without leave",
    "a target that is too small",
    "no O_DIRECT",
    "a prefix of another layout",
    "objects of nobody",
    # fleets
    "an agent lets anybody in",
    "an agent's clock is off",
    "an agent's clock is far off",
    "an agent of another version",
)

INJECTED = set(FAULTS)
"""Filled as the tests below are defined."""


def injects(*names: str) -> Callable[[Test], Test]:
    """Says of a test which faults it injects, each by itself."""
    INJECTED.update(names)
    return lambda test: test


def test_every_listed_fault_is_injected() -> None:
    """And the other way round."""
    assert len(set(LISTED)) == len(LISTED) >= 25
    assert set(LISTED) == INJECTED


@pytest.fixture(scope="module")
def server(s3_server: ServerUnderTest) -> ServerUnderTest:
    s3_server.bucket(BUCKET)
    for prefix in ("run", "clean"):
        place_of(s3_server, prefix)
    return s3_server


def place_of(server: ServerUnderTest, prefix: str) -> Path:
    """Where a prefix stands. No probe is the only object of its directory there, which this server removes with it."""
    place = Path(server.data_dir) / BUCKET / prefix
    (place / ".sai3tui").mkdir(parents=True)
    (place / ".sai3tui" / "stays").touch()
    return place


async def through(fault: Fault, server: ServerUnderTest, tmp_path: Path) -> list[Finding]:
    async with fault_proxy(server.host_port, fault) as place:
        return await check(tmp_path, config_of(f"s3+http://{place}/{BUCKET}/run/"), server.environ())


async def test_a_healthy_endpoint_raises_nothing(server: ServerUnderTest, tmp_path: Path) -> None:
    """Directly, and through a proxy that changes nothing: every check is made, and none is more than informed."""
    async with fault_proxy(server.host_port, Fault()) as place:
        places = [f"s3+http://{each}/{BUCKET}/clean/" for each in (*server.host_ports, place)]
        findings = await check(tmp_path, config_of(*places), server.environ())
    assert odd(findings) == {}
    expected = {"connect", "latency", "keepalive", "clock", "auth", "region", "bucket", "write", "read", "range"}
    expected |= {"stat", "list", "multipart", "delete-many", "delete", "namespace", "space"}
    for place_uri in places:
        owner = {"owner", "data"} if place_uri == places[0] else set()
        assert {f.check for f in findings if f.subject == place_uri} == expected | owner
    assert set(server.keys(BUCKET, "clean/")) == {"clean/.sai3tui/stays"}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_an_endpoint_is_found(name: str, server: ServerUnderTest, tmp_path: Path) -> None:
    fault, by, level = FAULTS[name]
    found = odd(await through(fault, server, tmp_path))
    assert found.get(by) is level, found
    # What follows from it may show in what builds on it, but in nothing that was well.
    allowed = {"read": {"range"}}.get(by, set())
    assert set(found) <= {by, *allowed}, found


@injects("wrong secret", "unknown key", "half a key pair", "no bucket")
@pytest.mark.parametrize(
    ("change", "bucket"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-key"}, BUCKET),
        ({"AWS_ACCESS_KEY_ID": "nobody-known"}, BUCKET),
        ({"AWS_SECRET_ACCESS_KEY": ""}, BUCKET),
        ({}, "no-such-bucket-at-all"),
    ],
    ids=["wrong secret", "unknown key", "half a key pair", "no bucket"],
)
async def test_what_does_not_open_the_bucket_is_found(
    change: Mapping[str, str], bucket: str, server: ServerUnderTest, tmp_path: Path
) -> None:
    config = config_of(f"s3+http://{server.host_port}/{bucket}/run/")
    findings = await check(tmp_path, config, {**server.environ(), **change})
    assert odd(findings)["auth"] is Level.ERROR
    assert all(f.advice for f in findings if f.level is Level.ERROR)


@injects("a name without address")
async def test_a_name_without_address_is_found(tmp_path: Path, server: ServerUnderTest) -> None:
    found = odd(await check(tmp_path, config_of(f"s3+http://no-such-host.invalid/{BUCKET}/"), server.environ()))
    assert found == {"dns": Level.ERROR}


@injects("nobody listens")
async def test_a_port_that_nobody_listens_on_is_found(tmp_path: Path, server: ServerUnderTest) -> None:
    place = f"s3+http://127.0.0.1:{free_port()}/{BUCKET}/"
    assert odd(await check(tmp_path, config_of(place), server.environ())) == {"connect": Level.ERROR}


@injects("no HTTP", "hangs up")
@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b""], ids=["no HTTP", "hangs up"])
async def test_what_is_no_s3_service_is_found(greeting: bytes, tmp_path: Path, server: ServerUnderTest) -> None:
    async with FaultServer([Step(greeting, "close", read_body=False)] * 20) as wrong:
        place = f"s3+http://{wrong.endpoint.host}:{wrong.endpoint.port}/{BUCKET}/"
        found = odd(await check(tmp_path, config_of(place), server.environ()))
    assert found["keepalive"] is Level.ERROR
    assert found["auth"] is Level.ERROR


@injects("two storages")
async def test_endpoints_of_two_storages_are_found(server: ServerUnderTest, tmp_path: Path) -> None:
    async with fault_proxy(server.host_port, own_namespace()) as other:
        places = [f"s3+http://{place}/{BUCKET}/clean/" for place in (server.host_port, other)]
        findings = await check(tmp_path, config_of(*places), server.environ())
    assert odd(findings) == {"namespace": Level.ERROR}
    assert [f.subject for f in findings if f.level is Level.ERROR] == [places[1]]
    assert set(server.keys(BUCKET, "clean/")) == {"clean/.sai3tui/stays"}


# --- TLS


def tls_server(authority: Path, directory: Path, name: str = "127.0.0.1", days: int = 100) -> Fault:
    issue(authority, directory, Role.AGENT, [name], days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "agent.crt", directory / "agent.key")
    return Fault(context=context)


@dataclass(frozen=True)
class TlsCase:
    name: str = "127.0.0.1"
    days: int = 100
    trusted: bool = True
    found: Mapping[str, Level] = field(default_factory=dict)
    advice: str = ""


TLS_CASES = {
    "healthy": TlsCase(),
    "expired": TlsCase(days=0, found={"tls": Level.ERROR}, advice="renew"),
    "for another name": TlsCase(name="other.lab", found={"tls": Level.ERROR}, advice="name"),
    "of an unknown CA": TlsCase(trusted=False, found={"tls": Level.ERROR}, advice="ca_file"),
    "expires soon": TlsCase(days=3, found={"tls": Level.WARNING}, advice="renew"),
}


@injects(
    "certificate expired", "certificate for another name", "certificate of an unknown CA", "certificate expires soon"
)
@pytest.mark.parametrize("name", TLS_CASES)
async def test_certificates_are_looked_at(name: str, server: ServerUnderTest, tmp_path: Path) -> None:
    case = TLS_CASES[name]
    make_authority(tmp_path / "ca")
    fault = tls_server(tmp_path / "ca", tmp_path / "agent", case.name, case.days)
    extra = f'ca_file: "{tmp_path}/ca/ca.crt"' if case.trusted else ""
    async with fault_proxy(server.host_port, fault) as place:
        config = config_of(f"s3+https://{place}/{BUCKET}/run/", extra=extra)
        findings = await check(tmp_path, config, server.environ())
    assert odd(findings) == case.found
    (tls,) = [f for f in findings if f.check == "tls"]
    assert case.advice in tls.advice


@injects("plain HTTP")
async def test_plain_http_where_tls_is_meant_is_found(server: ServerUnderTest, tmp_path: Path) -> None:
    config = config_of(f"s3+https://{server.host_port}/{BUCKET}/run/")
    findings = await check(tmp_path, config, server.environ())
    assert odd(findings) == {"tls": Level.ERROR}
    assert "s3+http://" in next(f.advice for f in findings if f.level is Level.ERROR)


# --- hosts and files


def wide(server: ServerUnderTest, connections: int) -> str:
    return config_of(f"s3+http://{server.host_port}/{BUCKET}/run/").replace(
        "concurrency: 2", f"concurrency: {connections}"
    )


@injects("too little memory")
async def test_too_little_memory_is_found(
    server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(available=50 * 1024 * 1024))
    assert odd(await check(tmp_path, wide(server, 2), server.environ())) == {"memory": Level.ERROR}


@injects("too few descriptors")
async def test_too_few_descriptors_are_found(server: ServerUnderTest, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        found = await check(tmp_path, wide(server, 300), server.environ())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert odd(found) == {"descriptors": Level.ERROR}
    assert "ulimit -n 556" in next(f.advice for f in found if f.check == "descriptors")


@injects("too few ports")
def test_too_few_ports_are_found(tmp_path: Path) -> None:
    told = tmp_path / "proc/sys/net/ipv4/ip_local_port_range"
    told.parent.mkdir(parents=True)
    told.write_text("60000\t60999\n")
    assert ports_told(999, tmp_path).level is Level.OK
    assert ports_told(1000, tmp_path).level is Level.ERROR
    told.write_text("nothing that is understood")
    assert ports_told(1000, tmp_path).level is Level.INFO


@injects("a full data disk")
async def test_a_full_data_disk_is_found(
    server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1024 * 1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    found = await check(tmp_path, wide(server, 2), server.environ())
    assert odd(found) == {"disk": Level.ERROR}
    assert "--data-dir" in next(f.advice for f in found if f.check == "disk")


@injects("a slow round trip")
async def test_a_slow_round_trip_is_found(
    server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = asyncio.open_connection

    async def far(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(SLOW_MS / 1000 * 1.5)
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncio, "open_connection", far)
    assert odd(await check(tmp_path, wide(server, 2), server.environ())) == {"latency": Level.WARNING}


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth1 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0
eth0 0000000A 00000000 0001 0 0 0 000000FF 0 0 0
eth2 0000000A 00000000 0001 0 0 50 000000FF 0 0 0
eth3 0005000A 00000000 0000 0 0 0 00FFFFFF 0 0 0
nothing that is understood
"""


@injects("a slow interface")
async def test_a_slow_interface_is_found_if_it_leads_to_the_storage(tmp_path: Path) -> None:
    for name, speed in (("eth0", "100"), ("eth1", "25000"), ("eth2", "10"), ("eth3", "10")):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "speed").write_text(speed)
        (tmp_path / "sys/class/net" / name / "mtu").write_text("9000")
        (tmp_path / "sys/class/net" / name / "operstate").write_text("up")
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(ROUTES)

    async def told(*hosts: str) -> Told:
        endpoints = [Endpoint(f"s3://{host}/b/", "s3", host, 80, "b") for host in hosts]
        return nic_told(await interfaces_used(endpoints, tmp_path), tmp_path)

    slow = await told("10.0.5.1", "192.0.2.1")
    assert (slow.level, slow.message) == (Level.WARNING, "eth0 runs at 100 Mbit/s")
    # Others are nobody's business.
    assert (await told("192.0.2.1")).message == "eth1 25 Gbit/s, MTU 9000"
    assert (await told("127.0.0.1")).message == "loopback only"
    assert (await told("2001:db8::1")).level is Level.WARNING


@injects("a system directory")
async def test_a_system_directory_is_refused(tmp_path: Path) -> None:
    for place in ("/", "/etc/x", "/usr/share/y", "/proc/1", "/root", "/home", "/var", "/dev/disk"):
        assert forbidden(Path(place)), place
    for place in (str(tmp_path), "/mnt/x", "/dev/shm/x", "/var/tmp/x", "/home/somebody/x", "/srv/x"):
        assert not forbidden(Path(place)), place
    config = """
target: "file:///etc/sai3tui-test/"
prepare: {ensure_objects: [{base_uri: data/, count: 1, size_distribution: 1}]}
workload: [{op: get, path: "data/*", weight: 1}]
"""
    findings = await check(tmp_path, config, {}, Path("/"))
    assert odd(findings) == {"path": Level.ERROR}
    assert not Path("/etc/sai3tui-test").exists()


@injects("a mount is missing", "a mount is read-only")
def test_mounts_are_read_as_the_kernel_tells_them() -> None:
    text = (
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "30 22 0:26 / /mnt/a\\040b rw - nfs4 host:/x rw\n"
        "31 22 0:27 / /mnt/ro ro,nosuid - xfs /dev/sdb ro\n"
    )
    nfs = mount_of(Path("/mnt/a b/deep"), text)
    assert nfs == Mount("/mnt/a b", "nfs4", "host:/x", "rw")
    assert mount_told(Path("/mnt/a b/deep"), nfs, "").level is Level.OK
    root = mount_told(Path("/mnt/forgotten"), mount_of(Path("/mnt/forgotten"), text), "")
    assert (root.level, "root disk" in root.message) == (Level.WARNING, True)
    assert mount_told(Path("/data/x"), mount_of(Path("/data/x"), text), "").level is Level.OK
    with pytest.raises(StorageError, match="read-only"):
        mount_told(Path("/mnt/ro/x"), mount_of(Path("/mnt/ro/x"), text), "")


FILES = """
target: "file://{target}/"
prepare: {{cleanup: true, ensure_objects: [{{base_uri: data/, count: 3, size_distribution: 10}}]}}
workload:
  - {{op: get, path: "data/*", weight: 1}}
  - {{op: put, path: "new/", object_size: 10, weight: 1}}
  - {{op: list, path: "data/", weight: 1}}
  - {{op: stat, path: "data/*", weight: 1}}
"""


async def test_a_healthy_directory_raises_nothing(tmp_path: Path) -> None:
    findings = await check(tmp_path, FILES.format(target=tmp_path / "target"), {}, tmp_path)
    assert odd(findings) == {}
    made = {"path", "mount", "space", "write", "read", "list", "stat", "delete", "owner", "data"}
    assert {f.check for f in findings if f.subject.startswith("file:")} == made
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_file()]


@injects("a target that others own", "a target that is a file")
@pytest.mark.parametrize(("fault", "by"), [("others", "write"), ("file", "path")])
async def test_a_directory_that_cannot_be_used_is_found(
    fault: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    if fault == "file":
        target.touch()
    if fault == "others":
        # As the kernel says it to everybody but root, who may run this.
        real = open

        def denied(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if "w" in mode and str(path).startswith(str(target)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return real(path, mode, *rest, **options)

        monkeypatch.setattr("builtins.open", denied)
    assert odd(await check(tmp_path, FILES.format(target=target), {}, tmp_path)) == {by: Level.ERROR}


@injects("a target without leave")
async def test_a_directory_without_leave_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    config = FILES.format(target=tmp_path / "target")
    with running_agent(tmp_path) as agent:
        async with stub_of(agent) as stub:
            spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=config.encode())
            (finding,) = [each async for each in stub.Preflight(pb.PreflightRequest(spec=spec))]
    assert (finding.check, finding.level, "--allow-path" in finding.advice) == ("path", pb.ERROR, True)
    assert not (tmp_path / "target").exists()


@injects("a target that is too small")
async def test_a_disk_that_is_too_small_is_found(tmp_path: Path) -> None:
    config = f"""
target: "file://{tmp_path}/target/"
prepare: {{ensure_objects: [{{base_uri: data/, count: 1000, size_distribution: 100TiB}}]}}
workload: [{{op: get, path: "data/*", weight: 1}}]
"""
    assert odd(await check(tmp_path, config, {}, tmp_path)) == {"space": Level.ERROR}


@injects("no O_DIRECT")
async def test_a_file_system_without_o_direct_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel says it: EINVAL. Which file systems do is a matter of its version."""
    real = os.open

    def without(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", without)
    config = f"""
target: "direct://{tmp_path}/target/"
prepare: {{ensure_objects: [{{base_uri: data/, count: 1, size_distribution: 4096}}]}}
workload: [{{op: get, path: "data/*", weight: 1}}]
"""
    assert odd(await check(tmp_path, config, {}, tmp_path)) == {"direct": Level.ERROR}
    assert not list((tmp_path / "target").rglob("*probe*"))


@injects("a prefix of another layout", "objects of nobody")
@pytest.mark.parametrize("marked", [True, False])
async def test_what_belongs_to_others_is_found(marked: bool, server: ServerUnderTest, tmp_path: Path) -> None:
    prefix = place_of(server, f"owned-{marked}")
    (prefix / "data").mkdir()
    (prefix / "data" / "precious").touch()
    if marked:
        (prefix / ".sai3tui" / "owner.json").write_text('{"layout": "another"}')
    place = f"s3+http://{server.host_port}/{BUCKET}/{prefix.name}/"
    findings = await check(tmp_path, config_of(place), server.environ())
    assert odd(findings) == {"owner": Level.ERROR}
    assert "--adopt" in next(f.advice for f in findings if f.check == "owner")


# --- fleets


@injects(
    "an agent lets anybody in",
    "an agent's clock is off",
    "an agent's clock is far off",
    "an agent of another version",
)
@pytest.mark.parametrize(
    ("script", "found"),
    [
        (Script(insecure=True), ("agent", "warning")),
        (Script(skew_ns=5_000_000_000), ("clock", "warning")),
        (Script(skew_ns=-3_600_000_000_000), ("clock", "error")),
        (Script(), ("version", "warning")),
    ],
    ids=["insecure", "clock off", "clock far off", "another version"],
)
async def test_what_only_the_controller_sees_is_found(script: Script, found: tuple[str, str], tmp_path: Path) -> None:
    async with scripted_agent(script) as agent:
        told = await sai3tui("preflight", write(tmp_path, config_text([agent.address])), "--json")
    findings = {(f["check"], f["level"]) for f in json.loads(told.out)["findings"]}
    assert found in findings


async def test_overrides_are_obeyed_and_shown(server: ServerUnderTest, tmp_path: Path) -> None:
    extra = "preflight: {skip: [bucket, clock], warn_only: [range]}"
    fault = Fault(FAULTS["ranges are ignored"][0].before, shifted_date)
    async with fault_proxy(server.host_port, fault) as place:
        config = config_of(f"s3+http://{place}/{BUCKET}/run/", extra=extra)
        findings = await check(tmp_path, config, server.environ())
    assert odd(findings) == {"range": Level.WARNING}
    assert "warn_only" in next(f.evidence for f in findings if f.check == "range")
    skipped = {f.check for f in findings if "preflight.skip" in f.message}
    assert skipped == {"bucket", "clock"}
    assert not any(asks("versioning")(seen) for seen in fault.seen)


def test_a_fleet_with_four_endpoints_raises_nothing(server: ServerUnderTest, tmp_path: Path) -> None:
    """The command itself on two real agents, with the measure: exit code 0, no warning, nothing left behind."""
    environ = environment(server)
    with (
        running_agent(tmp_path, environ=environ, name="one") as one,
        running_agent(tmp_path, environ=environ, name="two") as two,
    ):
        places = [f"s3+http://{each}/{BUCKET}/clean/" for each in server.host_ports]
        agents = [{"id": "a1", "address": one.address}, {"id": "a2", "address": two.address}]
        path = tmp_path / "c.yaml"
        path.write_text(config_of(*places, extra=f"distributed: {{agents: {json.dumps(agents)}}}"))
        with started(["preflight", str(path), "--json"], environ=environ) as process:
            out, err = process.communicate(timeout=90)
    document = json.loads(out)
    assert process.returncode == 0, err
    assert [f for f in document["findings"] if f["level"] in ("warning", "error")] == []
    by_agent = {(f["agent"], f["check"]): f for f in document["findings"]}
    for agent, other in (("a1", "a2"), ("a2", "a1")):
        whole = next(
            f for f in document["findings"] if f["agent"] == agent and f["check"] == "rate" and not f["subject"]
        )
        assert "prepare of its 10 objects" in whole["message"]
        assert "expected limit" in whole["message"]
        shared = next(f for f in document["findings"] if f["agent"] == agent and f["check"] == "namespace")
        assert f"by {other}" in shared["message"]
        assert (agent, "generator") in by_agent or (agent, "plan") in by_agent
    assert set(server.keys(BUCKET, "clean/")) == {"clean/.sai3tui/stays"}
