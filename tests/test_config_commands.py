from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sai3tui.inspect_commands import plan_file, validate_files

CONFIGS = Path(__file__).parent / "data" / "configs"
SEED = str(CONFIGS / "s3_single_node.yaml")


def test_validate_prints_every_problem_and_ok(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("workload: []\ncolour: red\ntarget: data/\n")
    out = io.StringIO()
    assert validate_files([SEED, str(bad)], False, out) == 2
    lines = out.getvalue().splitlines()
    assert lines[0] == f"{SEED}: ok"
    assert lines[1].startswith(f"{bad}:2:1: warning: unknown key 'colour'")
    assert lines[2].startswith(f"{bad}:3:9: error: 'data/' is not a URI")
    assert len(lines) == 3


def test_validate_as_json(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)))
    out = io.StringIO()
    assert validate_files([SEED, str(binary), str(tmp_path / "none.yaml"), str(tmp_path)], True, out) == 2
    files = json.loads(out.getvalue())["files"]
    assert files[0] == {"path": SEED, "ok": True, "problems": []}
    assert [f["ok"] for f in files] == [True, False, False, False]
    for each in files[1:]:
        (problem,) = each["problems"]
        assert set(problem) == {"line", "column", "level", "code", "message", "hint"}
        assert problem["level"] == "error"
    assert validate_files([SEED], True, io.StringIO()) == 0


def test_plan_as_json_with_objects() -> None:
    out = io.StringIO()
    assert plan_file(SEED, True, [0, 63_999], out) == 0
    document = json.loads(out.getvalue())
    assert document["objects"] == 64_000
    assert [(o["index"], o["agent"]) for o in document["object"]] == [(0, "agent-1"), (63_999, "agent-1")]
    assert set(document["object"][0]) >= {"index", "uri", "size", "agent", "endpoint"}


def test_plan_for_people() -> None:
    out = io.StringIO()
    assert plan_file(SEED, False, [63_999], out) == 0
    shown = out.getvalue()
    for words in ("584", "64,000", "s3://10.9.0.25/sai3-bucket1/", "all_or_nothing", "500 GiB (537 GB)"):
        assert words in shown
    assert "object 63999: s3://10.9.0.25/sai3-bucket1/data/d1_w8.dir/d2_w8.dir/d3_w8.dir/file_00063999.dat" in shown


def test_plan_of_what_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("workload: [{op: get, path: x, weight: 1}]\n")
    out = io.StringIO()
    assert plan_file(str(bad), True, [], out) == 2
    assert plan_file(SEED, True, [64_000], out) == 2
    assert out.getvalue() == ""
    said = capsys.readouterr().err
    assert "there is no target" in said
    assert "there is no object 64000" in said
