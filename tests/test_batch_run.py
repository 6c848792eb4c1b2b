"""`sai3tui --batch` and `preflight` as processes, against scripted agents."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sai3tui.batch import BatchOptions, run_batch
from sai3tui.batch_output import LinePrinter, running_stage
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.events import StageFinished
from sai3tui.proto import sai3tui_pb2 as pb
from tests.canned_runs import running
from tests.scripted_agent import Script, scripted_agent
from tests.test_controller_session import config_text
from tests.waiting import wait_until_async

LIMIT_S = 30


@dataclass
class Ended:
    code: int
    out: str
    err: str


async def start(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sai3tui",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )


async def finish(process: asyncio.subprocess.Process) -> Ended:
    out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def sai3tui(*words: str) -> Ended:
    return await finish(await start(*words))


def write(tmp_path: Path, text: bytes) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_bytes(text)
    return str(path)


async def test_no_progress_is_told_of_a_stage_that_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sai3tui.batch_output.PROGRESS_INTERVAL_S", 0.001)
    snapshot, stream = running(), StringIO()
    stage = running_stage(snapshot)
    assert stage is not None
    printer, looks = LinePrinter(stream), 0

    def look() -> RunSnapshot:
        nonlocal looks
        looks += 1
        return snapshot

    watching = asyncio.create_task(printer.watch(look))
    try:
        assert await wait_until_async(lambda: f"stage {stage.index} {stage.name}: " in stream.getvalue())
        printer.item(StageFinished(1, stage_index=stage.index, stage_name=stage.name))
        known, looked = stream.getvalue(), looks
        assert known.endswith(" finished\n")
        assert await wait_until_async(lambda: looks > looked + 2)
        assert stream.getvalue() == known
    finally:
        watching.cancel()


async def test_lines_on_stderr_and_the_summary_on_stdout(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        config = write(tmp_path, config_text([agent.address]))
        ended = await sai3tui("--batch", config, "--results", str(tmp_path))

    assert ended.code == 0
    assert "stage 1 prepare started" in ended.err
    assert all(line[:4].isdecimal() and line[23] == "Z" for line in ended.err.splitlines())
    rows = [line.split() for line in ended.out.splitlines()]
    prepare = next(row for row in rows if row[:2] == ["1", "prepare"])
    assert prepare[2:5] == ["done", "100", "100"]
    results = next(line for line in ended.out.splitlines() if line.startswith("results: "))
    assert (Path(results.removeprefix("results: ")) / "STATUS.txt").exists()


async def test_json_prints_nothing_else_and_ends_with_the_result(tmp_path: Path) -> None:
    async with scripted_agent(Script(interval_s=1.0)) as agent:
        config = write(tmp_path, config_text([agent.address]))
        ended = await sai3tui("--batch", config, "--json", "--results", str(tmp_path))

    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert ended.err == ""
    result = lines[-1]
    assert (result["type"], result["exit"], result["status"]) == ("result", 0, "success")
    assert [(s["name"], s["objects"], s["ops"], s["bytes"]) for s in result["stages"]] == [
        ("prepare", 100, 100, 100_000),
        ("execute", 100, 100, 100_000),
    ]
    assert Path(result["results"]).is_dir()
    intervals = [line for line in lines if line["type"] == "interval"]
    assert sum(line["ops"] for line in intervals) == 200
    assert intervals[0]["put_ops_per_s"] == 50
    assert {"RunStarted", "StageStarted", "BarrierReleased", "RunFinished"} <= {line["type"] for line in lines}


async def test_a_failure_is_told_whole_with_cause_place_and_hint(tmp_path: Path) -> None:
    async with scripted_agent(Script(fail_stage=1)) as agent:
        config = write(tmp_path, config_text([agent.address]))
        ended = await sai3tui("--batch", config, "--results", str(tmp_path))

    assert ended.code == 1
    end = ended.err[ended.err.rindex("sai3tui: ") :]
    assert "the bucket does not exist" in end
    assert "because: HTTP 404 NoSuchBucket" in end
    assert "s3://10.0.0.1/bucket/data/x" in end
    assert "hint: make the bucket" in end
    assert f"sai3tui --batch {config}" in end
    assert "Traceback" not in ended.err
    assert "50" in ended.out  # what was done is said even so
    status = next(tmp_path.glob("sai3-*/STATUS.txt")).read_text()
    assert "TEST STATUS: FAILURE" in status
    assert "Total operations: 50" in status
    assert "make the bucket" in status
    for name in status[status.index("=== Files ===") :].splitlines()[1:]:
        assert (next(tmp_path.glob("sai3-*")) / name).exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_aborts_cleanly_and_keeps_the_results(tmp_path: Path, number: int, code: int) -> None:
    async with scripted_agent(Script(hang_stage=1)) as agent:
        config = write(tmp_path, config_text([agent.address]))
        process = await start("--batch", config, "--json", "--results", str(tmp_path))
        await asyncio.wait_for(agent.working.wait(), LIMIT_S)
        process.send_signal(number)
        process.send_signal(number)  # impatience changes nothing
        ended = await finish(process)
        assert len(agent.aborts) == 1
        assert await wait_until_async(lambda: agent.state.name == "IDLE")
    result = json.loads(ended.out.splitlines()[-1])
    assert (ended.code, result["exit"], result["status"]) == (code, code, "aborted")
    assert result["resume"]
    assert (Path(result["results"]) / "metadata.json").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"a: &a [*a]\n", b"target: [", b"[" * 5000])
def test_a_bad_file_is_one_clear_message(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path, content)
    assert run_batch(BatchOptions(Path(config), results=tmp_path)) == 2
    err = capsys.readouterr().err
    assert err.startswith("sai3tui: ")
    assert "run finished" not in err
    assert run_batch(BatchOptions(Path(config), json=True, results=tmp_path)) == 2
    out, err = capsys.readouterr()
    assert "tiny.yaml" in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["exit"] == 2


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_batch(BatchOptions(tmp_path / "no.yaml")) == 2
    err = capsys.readouterr().err
    assert "no.yaml" in err
    assert "No such file" in err


async def test_an_agent_that_is_down_is_named_with_what_to_do(tmp_path: Path) -> None:
    config = write(tmp_path, config_text(["127.0.0.1:9"]))
    ended = await sai3tui("--batch", config, "--results", str(tmp_path))
    assert ended.code == 1
    assert "agent a1 at 127.0.0.1:9: connection refused" in ended.err
    assert "sai3tui agent --listen" in ended.err


async def test_a_reader_that_leaves_ends_the_run(tmp_path: Path) -> None:
    async with scripted_agent(Script(hang_stage=1)) as agent:
        config = write(tmp_path, config_text([agent.address]))
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sai3tui", "--batch", config, "--json", "--results", str(tmp_path)),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        os.close(reading)
        _, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in err


async def test_preflight_prints_findings_and_touches_nothing_else(tmp_path: Path) -> None:
    bad = pb.Finding(check="auth", subject="s3://x/", level=pb.ERROR, message="the key is wrong", advice="correct it")
    good = pb.Finding(check="connect", subject="s3://x/", message="answers", took_ms=2)
    async with scripted_agent(Script(findings=(good, bad))) as agent:
        config = write(tmp_path, config_text([agent.address]))
        ended = await sai3tui("preflight", config)
        document = await sai3tui("preflight", config, "--json")
        assert agent.spec is None

    assert ended.code == 3
    assert "OK      a1: connect s3://x/: answers (2 ms)" in ended.out
    assert "hint: correct it" in ended.out
    found = json.loads(document.out)
    assert (found["ok"], found["exit"]) == (False, 3)
    assert [(f["agent"], f["check"], f["level"]) for f in found["findings"]] == [
        ("a1", "agent", "ok"),
        ("a1", "version", "warning"),
        ("a1", "clock", "ok"),
        ("a1", "connect", "ok"),
        ("a1", "auth", "error"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


async def test_a_good_preflight_is_exit_0(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        ended = await sai3tui("preflight", write(tmp_path, config_text([agent.address])))
    assert ended.code == 0


THRESHOLDS = """
thresholds:
  - {metric: get.ops, stage: execute, min: 1000000}
  - {metric: get.p99, stage: execute, max: 10s}
  - {metric: coverage, min: 100%}
"""


async def test_a_threshold_that_is_not_met_ends_with_code_4_and_is_told_everywhere(tmp_path: Path) -> None:
    junit, summary = tmp_path / "ci" / "junit.xml", tmp_path / "ci" / "summary.md"
    async with scripted_agent() as agent:
        config = write(tmp_path, config_text([agent.address]) + THRESHOLDS.encode())
        words = ["--batch", config, "--results", str(tmp_path), "--junit", str(junit), "--summary", str(summary)]
        ended = await sai3tui(*words)

    assert ended.code == 4, ended.err
    assert "threshold missed: get.ops >= 1,000,000 in execute" in ended.err
    lines = [line for line in ended.out.splitlines() if line.startswith(("get.", "coverage"))]
    assert [line.split("execute")[1].split()[0] for line in lines if "execute" in line] == ["MISSED", "met", "met"]
    directory = next(tmp_path.glob("sai3-*"))
    status = (directory / "STATUS.txt").read_text()
    assert "threshold missed, exit code 4" in status
    assert "MISSED" in status
    document = json.loads((directory / "metadata.json").read_text())
    assert [(view["metric"], view["stage"], view["failed"]) for view in document["thresholds"]] == [
        ("get.ops", "execute", True),
        ("get.p99", "execute", False),
        ("coverage", "prepare", False),
        ("coverage", "execute", False),
    ]
    assert '"type": "ThresholdCrossed"' in (directory / "events.jsonl").read_text()
    cases = ElementTree.parse(junit).findall(".//testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == ["run", "threshold get.ops >= 1,000,000 in execute"]
    assert "MISSED" in summary.read_text()
    shown = await sai3tui("results", "show", str(directory))
    assert "get.ops >= 1,000,000" in shown.out
    assert "get.ops &gt;= 1,000,000" in (directory / "report.html").read_text()


async def test_a_threshold_with_abort_ends_the_run(tmp_path: Path) -> None:
    limit = "\nthresholds: [{metric: get.ops, stage: execute, min: 1000000, window: 1s, abort: true}]\n"
    async with scripted_agent(Script(hang_stage=2, interval_s=1.0)) as agent:
        config = write(tmp_path, config_text([agent.address]) + limit.encode())
        ended = await sai3tui("--batch", config, "--results", str(tmp_path))

        assert ended.code == 4, ended.err
        assert len(agent.aborts) == 1
        assert "get.ops >= 1,000,000" in agent.aborts[0]


async def test_a_summary_that_cannot_be_written_fails_a_run_that_went_well(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with scripted_agent() as agent:
        config = write(tmp_path, config_text([agent.address]))
        ended = await sai3tui(
            "--batch", config, "--results", str(tmp_path), "--summary", str(tmp_path / "file" / "below.md")
        )
    assert ended.code == 1
    assert "below.md" in ended.err


async def test_a_file_that_cannot_be_run_gives_the_build_server_its_reason(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    ended = await sai3tui("--batch", str(tmp_path / "none.yaml"), "--junit", str(junit))
    assert ended.code == 2
    error = ElementTree.parse(junit).find(".//error")
    assert error is not None
    assert "none.yaml" in (error.get("message") or "")
