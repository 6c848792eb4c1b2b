"""Agents of one host, and where each keeps what it has on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from sai3tui.agent.data_lock import locked
from sai3tui.agent.setup import AgentLimits, make_setup
from sai3tui.errors import ResourceError
from sai3tui.proto import sai3tui_pb2 as pb

CONFIG = """\
target: s3://10.0.0.1/bucket/
workload: [{op: get, path: "data/*", weight: 1}]
prepare: {ensure_objects: [{base_uri: data/, count: 10, size_spec: 100}]}
distributed:
  kv_cache_dir: "/somewhere/kv"
  agents: [{id: a, address: "127.0.0.1:1"}, {id: b, address: "127.0.0.1:2"}]
"""


def test_agents_that_are_told_one_directory_for_state_caches_have_one_each_there(tmp_path: Path) -> None:
    found = []
    for number in range(2):
        spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=CONFIG.encode(), agent_index=number)
        found.append(make_setup(spec, AgentLimits(tmp_path, (Path("/somewhere"),)), {}).cache_dir)
    assert len(set(found)) == 2
    assert [path.relative_to("/somewhere/kv").parts[0] for path in found] == ["a", "b"]


def test_a_directory_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "kv", "directory of state caches", "take another"),
        pytest.raises(ResourceError, match="is in use by another agent") as refused,
        locked(tmp_path / "kv", "directory of state caches", "take another"),
    ):
        pass
    assert refused.value.hint == "take another"
    with locked(tmp_path / "kv", "directory of state caches", "take another"):
        pass
