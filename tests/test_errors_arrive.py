"""What goes wrong at an agent arrives at the front whole: kind, causes, place, and what to do next."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from sai3tui.agent import stage_player
from sai3tui.agent.stages.base import StageContext
from sai3tui.config.model import StageType
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.errors import ErrorKind, Failure, Sai3Error
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.describe import failure_lines
from sai3tui.results.reader import load_run
from sai3tui.results.views import Outcome
from tests.agents import agent_in_process
from tests.fault_proxy import Fault, Seen, fault_proxy, says
from tests.servers import ServerUnderTest

REFUSED = {
    0: (ErrorKind.AUTH, "InvalidAccessKeyId", "403 Forbidden"),
    1: (ErrorKind.PERMISSION, "AccessDenied", "403 Forbidden"),
    2: (ErrorKind.NOT_FOUND, "NoSuchKey", "404 Not Found"),
    3: (ErrorKind.THROTTLED, "SlowDown", "503 Service Unavailable"),
    4: (ErrorKind.TIMEOUT, "RequestTimeout", "408 Request Timeout"),
    5: (ErrorKind.STORAGE, "InternalError", "500 Internal Server Error"),
    6: (ErrorKind.CONFIG, "PermanentRedirect", "301 Moved Permanently"),
}
"""Of GETs: by the number of the object, what the storage answers and which kind that is."""
CUT, CHANGED = 7, 8
KINDS = {index: kind for index, (kind, _, _) in REFUSED.items()} | {CUT: ErrorKind.NETWORK, CHANGED: ErrorKind.CORRUPT}

FLEET = """
distributed:
  start_delay: 0
  stages:
    - {name: prepare, order: 1, type: prepare}
    - {name: execute, order: 2, type: execute, duration: 60s}
  agents: [{id: agent-1, address: "ADDRESS"}]
"""
STORAGE = """\
concurrency: 2
target: s3+http://HOST/BUCKET/
verify: true
error_handling: {max_total_errors: 1000000, error_rate_threshold: 0}
prepare: {ensure_objects: [{base_uri: data/, count: 10, size_spec: 8KiB}]}
workload: [{op: get, path: "data/*", weight: 1, popularity: once}]
"""
FILES = """\
concurrency: 1
target: file://DIR/target/
prepare: {ensure_objects: [{base_uri: data/, count: 2, size_spec: 1KiB}]}
workload: [{op: stat, path: "data/*", weight: 1}]
duration: 0.1s
"""


async def run(tmp_path: Path, config: str, *allowed: Path) -> tuple[Outcome, RunSnapshot]:
    """A whole run on an agent in this process, without preflight, which would find most of this before."""
    async with agent_in_process(tmp_path, *allowed) as (address, _):
        text = (config + FLEET).replace("ADDRESS", address)
        session = RunSession(RunRequest(tmp_path / "run.yaml", text.encode(), tmp_path / "results", preflight=False))
        async with asyncio.timeout(120):
            outcome = await session.run()
    return outcome, session.snapshot()


def number(seen: Seen) -> int:
    """Of the object that a GET asks for; -1 for anything else."""
    found = re.search(r"prepared-(\d+)\.dat$", seen.path)
    return int(found[1]) if found is not None and seen.method == "GET" else -1


def refuse(seen: Seen) -> bytes | None:
    _, code, status = REFUSED.get(number(seen), (None, "", ""))
    return says(code, status, lambda _: True)(seen) if code else None


async def cut(seen: Seen) -> None:
    if number(seen) == CUT:
        raise ConnectionResetError("injected")


def change(seen: Seen, raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1]) if number(seen) == CHANGED else raw


async def test_each_kind_of_failure_of_an_operation_arrives_whole(s3_environ: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_environ.bucket("errors-arrive")
    async with fault_proxy(s3_environ.host_port, Fault(refuse, change, wait=cut)) as proxy:
        config = STORAGE.replace("HOST", proxy).replace("BUCKET", bucket)
        s3_environ.make_directories(bucket, config)
        outcome, snapshot = await run(tmp_path, config)
    # Who reads the results later is told the same.
    recorded = load_run(Path(outcome.results)).failures
    for groups in (snapshot.failures, recorded):
        assert {group.sample.kind for group in groups} == set(KINDS.values())
        for group in groups:
            failure, context = group.sample, group.sample.context
            assert KINDS[context.object_index] is failure.kind
            assert group.agents == ("agent-1",)
            assert (context.agent, context.stage, context.op) == ("agent-1", "execute", "get")
            assert context.endpoint == f"s3+http://{proxy}/{bucket}/"
            assert context.uri == f"{context.endpoint}data/prepared-{context.object_index:08d}.dat"
            assert context.uri in failure.message or f"object {CHANGED}" in failure.message
            if context.object_index in REFUSED:
                _, code, status = REFUSED[context.object_index]
                assert f"{status.split()[0]} {code}" in failure.message
                assert failure.causes == ("the storage says: injected",)
            assert failure.hint, failure
    # Wrong data fails a run that goes on in spite of all else.
    assert outcome.failure is not None
    assert (outcome.exit_code, outcome.failure.kind) == (5, ErrorKind.CORRUPT)
    told = "\n".join(failure_lines(outcome.failure))
    for word in ("agent-1", "execute", f"object {CHANGED}", "hint: "):
        assert word in told


def whole(outcome: Outcome, kind: ErrorKind) -> Failure:
    """How a run on files failed, in its prepare stage."""
    failure = outcome.failure
    assert failure is not None
    assert (outcome.exit_code, failure.kind) == (1, kind)
    assert failure.context.agent == "agent-1"
    assert failure.causes
    assert failure.what_next
    return failure


async def test_what_a_host_lacks_arrives_whole(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("")
    config = FILES.replace("DIR", str(tmp_path)) + "op_log_path: file/log\n"
    outcome, _ = await run(tmp_path, config, tmp_path / "target")
    failure = whole(outcome, ErrorKind.RESOURCE)
    assert "op-log" in failure.sentence()
    assert failure.hint


async def test_a_defect_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()

    async def broken(_context: StageContext) -> None:
        try:
            int("there")
        except ValueError as error:
            raise RuntimeError("this cannot be") from error

    monkeypatch.setattr(stage_player, "STAGES", {**stage_player.STAGES, StageType.PREPARE: broken})
    outcome, _ = await run(tmp_path, FILES.replace("DIR", str(tmp_path)), tmp_path / "target")
    failure = whole(outcome, ErrorKind.INTERNAL)
    assert failure.message == "RuntimeError: this cannot be"
    assert failure.causes == ("ValueError: invalid literal for int() with base 10: 'there'",)
    assert failure.context.stage == "prepare"
    assert "defect" in failure.what_next
    assert outcome.resume == f"sai3tui resume {outcome.results}"


@pytest.mark.parametrize(
    ("kind", "config", "layout", "said", "hint"),
    [
        (ErrorKind.CONFIG, FILES, "0123456789abcdef", "understand this configuration differently", "same version"),
        (ErrorKind.CONFIG, FILES.replace("workload", "wurkload"), "", "c.yaml:", "sai3tui validate"),
        # More than a call can carry.
        (ErrorKind.CONFIG, "".join(f"kü{n}: 1\n" for n in range(900)), "", "c.yaml:", "sai3tui validate"),
        (ErrorKind.RESOLVE, FILES.replace("target:", "# target:"), "", "c.yaml:", "sai3tui plan"),
        (ErrorKind.PERMISSION, FILES.replace("DIR/target", "/etc"), "", "may not touch", "--allow-path /etc"),
    ],
)
async def test_what_an_agent_refuses_a_run_with_arrives_whole(
    tmp_path: Path, kind: ErrorKind, config: str, layout: str, said: str, hint: str
) -> None:
    async with agent_in_process(tmp_path, tmp_path / "target") as (address, _):
        text = (config.replace("DIR", str(tmp_path)) + FLEET).replace("ADDRESS", address)
        spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=text.encode(), layout_hash=layout)
        link = AgentLink("agent-1", address)
        try:
            await link.connect()
            with pytest.raises(Sai3Error) as raised:
                await link.follow(
                    "r",
                    pb.ControllerMessage(run_id="r", start=spec),
                    lambda *_: None,
                    lambda *_: None,
                    lambda *_: None,
                    lambda *_: None,
                )
        finally:
            await link.close()
    failure = raised.value.failure()
    assert failure.kind is kind
    assert failure.message.startswith(f"agent agent-1 at {address} refused the run: ")
    assert said in failure.message
    assert hint in failure.what_next
    assert hint not in failure.message
    assert (failure.context.agent, bool(failure.context.endpoint)) == ("agent-1", True)
