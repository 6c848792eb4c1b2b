"""Preflight touches what the stages will touch, says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sai3tui.agent.controls import Controls
from sai3tui.agent.preflight import first_error, preflight, preflight_step
from sai3tui.agent.setup import AgentLimits, make_setup
from sai3tui.config.stage_choice import StageChoice
from sai3tui.errors import ErrorKind
from sai3tui.events import Finding, Level
from sai3tui.processes import free_port
from sai3tui.proto import sai3tui_pb2 as pb
from tests.servers import ServerUnderTest

HOST_CHECKS = {"version", "plan", "memory", "disk", "descriptors", "idle"}
NETWORK_CHECKS = {"ports", "nic"}
WAY_CHECKS = ("connect", "latency", "keepalive", "clock", "auth", "region", "bucket")


def config_of(*places: str, op: str = "get", path: str = "data/**/*", prepare: bool = True) -> str:
    listed = ", ".join(repr(place) for place in places)
    made = "prepare: {force_overwrite: true, ensure_objects: [{base_uri: data/, count: 10, size_distribution: 100}]}"
    return f"""
concurrency: 2
multi_endpoint: {{endpoints: [{listed}]}}
{made if prepare else ""}
workload: [{{op: {op}, path: "{path}", weight: 1}}]
"""


async def check(
    tmp_path: Path, config: str, environ: dict[str, str], *allowed: Path, only: StageChoice = StageChoice.ALL
) -> list[Finding]:
    (tmp_path / "data").mkdir(exist_ok=True)
    spec = pb.RunSpec(run_id="r", config_name="test.yaml", config_yaml=config.encode(), only=only.value)
    setup = make_setup(spec, AgentLimits(tmp_path / "data", allowed), environ)
    told: list[Finding] = []
    async with Controls(setup.endpoints, environ, setup.config.s3) as controls:
        findings = await preflight(setup, told.append, controls)
    assert list(findings) == told
    # Whoever collects them has one word on each; two would hide one another.
    assert len({(finding.check, finding.subject) for finding in told}) == len(told)
    return told


def matrix(findings: list[Finding]) -> dict[tuple[str, str], Level]:
    return {(f.subject, f.check): f.level for f in findings if f.check not in HOST_CHECKS | NETWORK_CHECKS}


async def test_every_endpoint_is_touched_and_left_clean(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("preflight-good")
    places = [f"s3+http://{place}/{bucket}/run/" for place in s3_server.host_ports]
    findings = await check(tmp_path, config_of(*places), s3_server.environ())
    checks = (*WAY_CHECKS, "write", "read", "delete", "namespace")
    found = {(place, name): Level.OK for place in places for name in checks}
    # This store does not tell its room.
    found |= {(place, "space"): Level.INFO for place in places}
    assert matrix(findings) == found | {(places[0], "owner"): Level.OK, (places[0], "data"): Level.OK}
    assert {f.check for f in findings} >= HOST_CHECKS | NETWORK_CHECKS
    assert all(f.evidence for f in findings)
    assert first_error(tuple(findings)) is None
    assert s3_server.keys(bucket) == {}


async def test_only_what_is_needed_is_asked_for(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("preflight-read")
    place = f"s3+http://{s3_server.host_port}/{bucket}/"
    config = config_of(place, prepare=False)
    (missing,) = [f for f in await check(tmp_path, config, s3_server.environ()) if f.level is Level.ERROR]
    assert (missing.check, missing.subject) == ("read", f"{place}data/**/*")
    assert missing.advice
    s3_server.client().put_object(Bucket=bucket, Key="data/x", Body=b"1")
    findings = await check(tmp_path, config, s3_server.environ())
    assert set(matrix(findings)) == {*((place, name) for name in WAY_CHECKS), (f"{place}data/**/*", "read")}
    assert set(s3_server.keys(bucket)) == {"data/x"}


@pytest.mark.parametrize(
    ("change", "bucket", "check_name", "kinds"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret-key"},
            "preflight-auth",
            "auth",
            {ErrorKind.AUTH, ErrorKind.PERMISSION},
        ),
        ({"AWS_ACCESS_KEY_ID": "nobody-known"}, "preflight-auth", "auth", {ErrorKind.AUTH, ErrorKind.PERMISSION}),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "preflight-auth", "auth", {ErrorKind.AUTH}),
        ({}, "no-such-bucket-here", "auth", {ErrorKind.NOT_FOUND}),
    ],
    ids=["secret", "key", "half", "bucket"],
)
async def test_what_the_storage_refuses_is_an_error_with_its_kind(
    s3_server: ServerUnderTest,
    tmp_path: Path,
    change: dict[str, str],
    bucket: str,
    check_name: str,
    kinds: set[ErrorKind],
) -> None:
    s3_server.bucket("preflight-auth")
    place = f"s3+http://{s3_server.host_port}/{bucket}/"
    findings = await check(tmp_path, config_of(place), {**s3_server.environ(), **change})
    error = next(f for f in findings if f.level is Level.ERROR and f.check == check_name)
    assert error.subject == place
    assert error.failure is not None
    assert error.failure.kind in kinds
    assert error.advice


async def test_one_endpoint_that_is_down_is_named_and_the_other_is_checked(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("preflight-down")
    down = f"s3+http://127.0.0.1:{free_port()}/{bucket}/"
    up = f"s3+http://{s3_server.host_port}/{bucket}/"
    found = matrix(await check(tmp_path, config_of(down, up), s3_server.environ()))
    assert found[down, "connect"] is Level.ERROR
    assert {name for subject, name in found if subject == down} == {"connect"}
    assert found[up, "write"] is Level.OK


async def test_files_are_written_read_and_deleted(tmp_path: Path) -> None:
    target = tmp_path / "target"
    place = f"file://{target}/"
    findings = await check(tmp_path, config_of(place), {}, target)
    names = ("path", "mount", "write", "read", "delete", "space", "owner", "data")
    assert matrix(findings) == {(place, name): Level.OK for name in names}
    assert [path for path in target.rglob("*") if path.is_file()] == []


async def test_each_thing_that_an_operation_needs_is_a_finding_of_its_own(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "here").mkdir(parents=True)
    (target / "here" / "x").write_bytes(b"1")
    config = f"""
target: file://{target}/
workload:
  - {{op: put, path: "new/", size: 100, weight: 1}}
  - {{op: get, path: "here/*", weight: 1}}
  - {{op: get, path: "gone/*", weight: 1}}
  - {{op: delete, path: "new/*", weight: 1}}
"""
    findings = await check(tmp_path, config, {}, target)
    wrong = {(finding.check, finding.subject) for finding in findings if finding.level is Level.ERROR}
    assert wrong == {("read", f"file://{target}/gone/*"), ("delete", f"file://{target}/new/*")}
    fine = matrix(findings)
    assert fine[f"file://{target}/here/*", "read"] is fine[f"file://{target}/", "delete"] is Level.OK


USES = """
target: file://{target}/
prepare: {{ensure_objects: [{{base_uri: x/, count: 40, size_distribution: 100}}]}}
workload: [{{op: get, path: "x/*", source: {source}, weight: 1}}]
"""


@pytest.mark.parametrize("source", ["prepare", "list"])
async def test_objects_that_no_stage_of_the_run_makes_must_be_there(tmp_path: Path, source: str) -> None:
    target = tmp_path / "target"
    config, subject = USES.format(target=target, source=source), f"file://{target}/x/*"
    whole = await check(tmp_path, config, {}, target)
    assert subject not in {finding.subject for finding in whole}

    async def used() -> tuple[Level, str, str]:
        findings = await check(tmp_path, config, {}, target, only=StageChoice.SKIP_PREPARE)
        (found,) = (finding for finding in findings if finding.subject == subject)
        return found.level, found.check, found.evidence

    level, name, _ = await used()
    assert (level, name) == (Level.ERROR, "read")
    (target / "x").mkdir(parents=True)
    for index in range(0, 40, 10):
        (target / "x" / f"prepared-{index:08d}.dat").write_bytes(bytes(100))
    level, _, evidence = await used()
    if source == "list":
        assert level is Level.OK
        return
    assert (level, evidence) == (Level.WARNING, "4 of 8 that were looked for are there")
    for index in range(40):
        (target / "x" / f"prepared-{index:08d}.dat").write_bytes(bytes(100))
    assert (await used())[0] is Level.OK
    (target / "x" / "prepared-00000010.dat").write_bytes(bytes(99))
    level, _, evidence = await used()
    assert (level, evidence) == (Level.WARNING, "1 of 8")


async def test_objects_that_were_not_looked_for_are_not_said_to_be_there(tmp_path: Path) -> None:
    """One object, which is kept at one of two endpoints."""
    places = [tmp_path / "one", tmp_path / "two"]
    config = config_of(*(f"file://{place}/" for place in places), path="data/*").replace("count: 10", "count: 1")
    for place in places:
        (place / "data").mkdir(parents=True)
        (place / "data" / "prepared-00000000.dat").write_bytes(bytes(100))
    findings = await check(tmp_path, config, {}, *places, only=StageChoice.SKIP_PREPARE)
    found = {finding.level: finding.evidence for finding in findings if finding.subject.endswith("data/*")}
    assert found == {
        Level.OK: "1 of 1 that were looked for are there",
        Level.INFO: "none was found to be kept here",
    }


@pytest.mark.parametrize("one_storage", [True, False])
async def test_looking_around_tells_which_directories_are_one(tmp_path: Path, one_storage: bool) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.symlink_to(first) if one_storage else second.mkdir()
    (tmp_path / "data").mkdir()
    config = config_of(f"file://{first}/", f"file://{second}/")
    spec = pb.RunSpec(run_id="r", config_name="test.yaml", config_yaml=config.encode(), namespace="shared")
    setup = make_setup(spec, AgentLimits(tmp_path / "data", (tmp_path,)), {})
    told: list[Finding] = []
    async with Controls(setup.endpoints, {}, setup.config.s3) as controls:
        for step in (pb.PREFLIGHT_LEAVE, pb.PREFLIGHT_LOOK_AROUND, pb.PREFLIGHT_REMOVE):
            await preflight_step(step, setup, told.append, controls)
    shown = {finding.subject: finding.shows for finding in told if finding.shows}
    own = ("0.0", "0.1")
    assert shown == {
        f"file://{first}/": own if one_storage else ("0.0",),
        f"file://{second}/": own if one_storage else ("0.1",),
    }
    assert {finding.level for finding in told} == {Level.OK}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_without_permission_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o500)
    findings = await check(tmp_path, config_of(f"file://{target}/"), {}, target)
    assert next(f.failure.kind for f in findings if f.failure is not None) is ErrorKind.PERMISSION


async def test_a_file_where_a_directory_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    findings = await check(tmp_path, config_of(f"file://{tmp_path}/target/"), {}, tmp_path)
    (error,) = [f for f in findings if f.level is Level.ERROR]
    assert error.check == "path"
    assert "target" in error.message


async def test_a_data_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache").write_text("")
    findings = await check(tmp_path, config_of(f"file://{tmp_path}/target/"), {}, tmp_path)
    assert [f.check for f in findings if f.level is Level.ERROR] == ["disk"]
