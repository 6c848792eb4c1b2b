"""What the command line leaves out of a run, for all fronts and commands alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.app_services import LiveServices
from sai3tui.cli import main
from sai3tui.config.model import StageType
from sai3tui.config.resolve import load_resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.controller.request import EXIT_CORRUPT, AttachOrder, RunRequest
from sai3tui.workload.objects import layout_hash
from tests.e2e import run_batch

TEXT = """\
target: file://{target}/
duration: 300ms
concurrency: 2
prepare:
  cleanup: true
  ensure_objects: [{{base_uri: d/, count: 12, size_spec: 20000}}]
workload: [{{op: get, path: "d/*", weight: 1}}]
"""
PLAIN = TEXT.format(target="/t")


def kinds(text: str, only: StageChoice) -> list[str]:
    return [stage.type.value for stage in load_resolved(text, "t", only=only).require().stages]


@pytest.mark.parametrize(
    ("only", "stages"),
    [
        (StageChoice.ALL, ["validation", "prepare", "execute", "cleanup"]),
        (StageChoice.PREPARE_ONLY, ["validation", "prepare"]),
        (StageChoice.SKIP_PREPARE, ["validation", "execute", "cleanup"]),
        (StageChoice.CLEANUP_ONLY, ["validation", "cleanup"]),
        (StageChoice.VERIFY, ["validation", "verify"]),
    ],
)
def test_what_is_left(only: StageChoice, stages: list[str]) -> None:
    assert kinds(PLAIN, only) == stages
    assert LiveServices(None, (), verbose=False, only=only).check(PLAIN, "t").plan is not None
    plan = LiveServices(None, (), verbose=False, only=only).check(PLAIN, "t").plan
    assert plan is not None
    listed = plan["stages"]
    assert isinstance(listed, list)
    assert [stage["type"] for stage in listed] == stages


def test_a_stage_that_is_wanted_is_added_with_a_name_of_its_own() -> None:
    text = PLAIN.replace("  cleanup: true\n", "") + (
        "distributed: {shared_filesystem: true, tree_creation_mode: concurrent, path_selection: random, agents: [h], "
        "stages: [{name: cleanup, order: 4, type: execute, duration: 1s}]}\n"
    )
    found = load_resolved(text, "t", only=StageChoice.CLEANUP_ONLY).require().stages
    assert [(stage.name, stage.type) for stage in found] == [("cleanup-5", StageType.CLEANUP)]


@pytest.mark.parametrize("only", [StageChoice.PREPARE_ONLY, StageChoice.VERIFY])
def test_nothing_to_do_is_an_error(only: StageChoice) -> None:
    found = load_resolved("target: s3://b/\nworkload: [{op: list, path: '', weight: 1}]\n", "t", only=only)
    assert not found.ok
    assert f"--{only.value} has nothing to do" in str(found.problems)


def test_the_layout_is_the_same_whatever_is_left_out() -> None:
    assert len({layout_hash(load_resolved(PLAIN, "t", only=only).require()) for only in StageChoice}) == 1


def test_the_plan_says_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(PLAIN)
    assert main(["plan", "--prepare-only", str(path)]) == 0
    said = capsys.readouterr().out
    assert "notice: --prepare-only: left out execute, cleanup" in said
    assert "deleted      nothing" in said
    assert main(["plan", "--json", "--cleanup-only", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [stage["type"] for stage in document["stages"]] == ["validation", "cleanup"]
    assert document["deleted"] == 12


@pytest.mark.parametrize("command", [["--batch"], ["plan"], ["preflight"]])
def test_only_one_of_them_makes_sense(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--prepare-only", "--verify", "c.yaml"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_run_is_resumed_with_the_same_choice() -> None:
    request = RunRequest(Path("c.yaml"), b"", only=StageChoice.SKIP_PREPARE)
    assert request.resume_command("", StageChoice.SKIP_PREPARE) == "sai3tui --batch c.yaml --skip-prepare"


def test_a_run_whose_configuration_is_not_here_is_resumed_from_the_copy_in_its_results(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    request = RunRequest(config, b"", baseline=Path("before"))
    assert request.resume_command("runs/sai3-1-c", StageChoice.ALL) == "sai3tui resume runs/sai3-1-c --baseline before"
    config.touch()
    assert request.resume_command("runs/sai3-1-c", StageChoice.ALL) == f"sai3tui --batch {config} --baseline before"
    # Of a run that we came to, a file of that name here need not be the same.
    came = replace(request, attach=AttachOrder(("a1:7167",)))
    assert came.resume_command("runs/sai3-1-c", StageChoice.ALL) == "sai3tui resume runs/sai3-1-c --baseline before"


def test_a_run_that_was_resumed_is_resumed_again_from_where_it_was_first_and_keeps_its_name() -> None:
    request = RunRequest(Path("runs/sai3-1-c/config.yaml"), b"", resumed=Path("runs/sai3-1-c"), name="c.yaml")
    assert request.resume_command("", StageChoice.ALL) == "sai3tui resume runs/sai3-1-c"
    assert request.resume_command("", StageChoice.CLEANUP_ONLY) == "sai3tui resume runs/sai3-1-c --cleanup-only"
    assert request.config_name == "c.yaml"


def test_runs_of_parts_of_a_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    path = tmp_path / "c.yaml"
    path.write_text(TEXT.format(target=target))

    def run(option: str) -> tuple[int, list[str], list[Path]]:
        done = run_batch(path, option)
        files = sorted((target / "d").glob("*.dat"))
        return done.code, [stage["type"] for stage in done.result["stages"]], files

    code, stages, files = run("--prepare-only")
    assert (code, stages, len(files)) == (0, ["validation", "prepare"], 12)
    written = files[3].stat().st_mtime_ns
    assert run("--verify") == (0, ["validation", "verify"], files)
    damaged = bytearray(files[3].read_bytes())
    damaged[777] ^= 1
    files[3].write_bytes(damaged)
    assert run("--verify")[0] == EXIT_CORRUPT
    assert written != files[3].stat().st_mtime_ns
    assert run("--cleanup-only") == (0, ["validation", "cleanup"], [])
