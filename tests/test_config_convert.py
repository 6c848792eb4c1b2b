from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.cli import main
from sai3tui.config.convert import convert_text
from sai3tui.config.language import LANGUAGE
from sai3tui.config.load import load_config
from sai3tui.config.problems import Level
from sai3tui.config.resolve import load_resolved
from sai3tui.config.vocabulary import BlockSpec, blocks_below
from sai3tui.convert_command import convert_files
from sai3tui.errors import ConfigError
from sai3tui.workload.plan import make_plan

CONFIGS = sorted((Path(__file__).parent / "data" / "configs").glob("*.yaml"))
LEGACY = """\
# before everything
target: s3://bucket/   # the bucket
workload:              # what is done

  # reads first
  - {op: get, path: 'data/prepared-*', weight: 1_00}
  - op: put
    path: "new/"       # below the target
    size: 1,048,576
    weight: 0
prepare:
  cleanup_mode: besteffort
  # a comment above the sets
  ensure_objects:
    - {base_uri: data/, count: "250 000", size_distribution: {uniform: {min_size: 4KiB, max_size: 8KiB}}, fill: prand}
    - base_uri: more/
      count: 3
      file_size: {% if False %}
distributed:           # the fleet
  # all of them
  agents: [h1, h2]
  stages:
    - name: warm       # the first one
      order: 1
      # nested as in the documents
      config:
        type: workload
        duration_secs: 30   # seconds
      barrier: {barrier_type: Majority, timeout: 5m}
    - {name: gone, order: 2, stage_type: cleanup}

# the end
""".replace("{% if False %}", "64KB")


def meaning(text: str | bytes) -> dict[str, object]:
    found = load_resolved(text, "t")
    resolved = found.require()
    document = make_plan(resolved.config, resolved).to_json()
    return json.loads(json.dumps(document))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_plan_of_a_real_file_stays(path: Path) -> None:
    source = path.read_bytes()
    conversion = convert_text(source, path.name)
    assert meaning(conversion.text) == meaning(source)
    assert load_config(conversion.text, "t").require() == load_config(source, "t").require()
    assert convert_text(conversion.text, path.name).changes == ()
    if not conversion.changes:
        assert conversion.text.encode() == source
    comments = [line.partition("#")[2].strip() for line in source.decode().splitlines() if "#" in line]
    for comment in comments:
        assert comment in conversion.text
    codes = {p.code for p in load_config(conversion.text, "t").problems}
    assert "assumed" not in codes or "prepare." in str(load_config(conversion.text, "t").problems)


@pytest.mark.parametrize("block", [b for b in blocks_below(LANGUAGE) if b.example], ids=lambda b: b.name or "file")
def test_the_plan_of_an_example_stays(block: BlockSpec) -> None:
    conversion = convert_text(block.example, "t")
    assert meaning(conversion.text) == meaning(block.example)
    assert load_config(conversion.text, "t").require() == load_config(block.example, "t").require()


def test_every_old_form_at_once() -> None:
    conversion = convert_text(LEGACY, "t")
    assert meaning(conversion.text) == meaning(LEGACY)
    assert (
        conversion.text
        == """\
# before everything
target: s3://bucket/   # the bucket
workload:              # what is done

  # reads first
  - {op: get, path: 'data/prepared-*', weight: 100}
  - op: put
    path: "new/"       # below the target
    object_size: 1048576
    weight: 0
prepare:
  cleanup_mode: best_effort
  # a comment above the sets
  ensure_objects:
    - {base_uri: data/, count: 250000, size_spec: {type: uniform, min: 4KiB, max: 8KiB}, fill: random}
    - base_uri: more/
      count: 3
      object_size: 64KB
distributed:           # the fleet
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  # all of them
  agents: [h1, h2]
  stages:
    - name: warm       # the first one
      order: 1
      # nested as in the documents
      type: execute
      duration: 30          # seconds
      barrier: {type: majority, agent_barrier_timeout: 5m}
    - {name: gone, order: 2, type: cleanup}

# the end
"""
    )


def test_what_preflight_looks_for_is_left_open() -> None:
    text = "target: TARGET\nworkload: [{op: list, path: '', weight: 1}]\ndistributed: {agents: [h1, h2]}\n"
    objects, files = (text.replace("TARGET", target) for target in ("s3://b/", "file:///m/"))
    assert "shared_filesystem: true" in convert_text(objects, "t").text
    assert "shared_filesystem" not in convert_text(files, "t").text
    assert meaning(convert_text(files, "t").text) == meaning(files)


def test_missing_stages_are_written_out_even_in_one_line() -> None:
    text = "target: s3://b/\nworkload: [{op: list, path: '', weight: 1}]\ndistributed: {agents: [h]}   # short\n"
    conversion = convert_text(text, "t")
    assert "stages: [{name: preflight, order: 1, type: validation" in conversion.text
    assert "# short" in conversion.text
    assert load_config(conversion.text, "t").problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "base: &b {op: get, fill: prand}\ntarget: s3://b/\nworkload: [{<<: *b, path: x, weight: 1}]\nseed: 1_0\n",
        "target: s3://b/\nworkload:\n- &one {op: get, path: x, weight: '1,000'}\n- *one\n",
        "---\ntarget: s3://b/\nworkload:\n- op: get\n  path: x\n  weight: 1_0\n...\n",
        "target: s3://b/\r\nworkload:\r\n  - {op: get, path: x, weight: 1_0}\r\n",
        "target: 's3://b/'\nworkload:\n        - op: get\n          path: \"\u00e9\u4e2d*\"\n          weight: 1 000\n",
        "target: s3://b/\nduration: 1m\nworkload: [{op: get, path: on, weight: 1_0}]\nseed: 0o17\n",
    ],
)
def test_odd_files_keep_their_meaning(text: str) -> None:
    conversion = convert_text(text, "t")
    assert conversion.changes
    assert meaning(conversion.text) == meaning(text)
    assert conversion.text.count("\r") == text.count("\r")


def test_a_file_with_errors_is_not_converted() -> None:
    with pytest.raises(ConfigError):
        convert_text("workload: 5\n", "t")


def test_files_are_replaced_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(LEGACY)
    path.chmod(0o640)
    (tmp_path / "old.yaml.bak").write_text("older")
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    out = io.StringIO()
    assert convert_files([link], out, dry_run=True) == 0
    assert "+      object_size: 64KB\n" in out.getvalue()
    assert path.read_text() == LEGACY
    assert convert_files([link], out, dry_run=False) == 0
    assert (tmp_path / "old.yaml.bak").read_text() == "older"
    assert (tmp_path / "old.yaml.bak1").read_text() == LEGACY
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text() == convert_text(LEGACY, "t").text
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "old.yaml", "old.yaml.bak", "old.yaml.bak1"]
    assert main(["convert", str(path)]) == 0
    assert "already in the current form" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "old.yaml", "old.yaml.bak", "old.yaml.bak1"]


def test_what_cannot_be_converted_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("workload: [{op: gett, path: x, weight: 1}]\n")
    assert main(["convert", str(bad), str(tmp_path / "none.yaml"), str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{bad}:1:17: error: workload[0].op is 'gett'" in said
    assert f"{tmp_path / 'none.yaml'}: cannot convert the file: No such file" in said
    assert os.listdir(tmp_path) == ["bad.yaml"]


NUMBERS = st.sampled_from(["1", "1_000", "'1,000'", "1 000", '"2_000"'])
SIZE_FORMS = st.sampled_from(
    ["size: '1,024'", "size_spec: {fixed: 2KB}", "size_spec: {uniform: {min: 1, max: 2}}", "object_size: 5"]
)
BARRIERS = st.sampled_from(["", ", barrier: Best-Effort", ", barrier: {barrier_type: majority, timeout: 1m}"])


@settings(max_examples=25, deadline=None)
@given(
    count=NUMBERS,
    weight=NUMBERS,
    size=SIZE_FORMS,
    barrier=BARRIERS,
    nested=st.booleans(),
    comment=st.text("ab #", max_size=5),
)
def test_mixed_forms_keep_their_meaning(
    count: str, weight: str, size: str, barrier: str, nested: bool, comment: str
) -> None:
    kind = "config: {type: workload, duration_secs: 5}" if nested else "stage_type: execute, duration: 5s"
    text = (
        f"target: s3://b/ # {comment}\nworkload: [{{op: get, path: 'a/*', weight: {weight}}}]\n"
        f"prepare:\n  ensure_objects:\n  - {{base_uri: a/, count: {count}, {size}}}\n"
        f"distributed:\n    agents: [h]\n    stages: [{{name: a, order: 1, {kind}{barrier}}}]\n"
    )
    conversion = convert_text(text, "t")
    assert meaning(conversion.text) == meaning(text)
    assert yaml.safe_load(conversion.text)
    assert [p for p in load_config(conversion.text, "t").problems if p.level is not Level.NOTICE] == []
