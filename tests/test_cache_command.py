"""`sai3tui cache`: what is on record about objects, compared with the storage, and forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sai3tui.cli import main
from sai3tui.config.resolve import load_resolved
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.state.generations import Generation, Holding
from sai3tui.state.layout import LayoutCache, StatesKey
from sai3tui.state.states import ObjectState
from sai3tui.workload.objects import layout_hash, object_sets

CONFIG = """\
target: "{root}/"
workload: [{{op: get, path: "data/*", weight: 1}}]
prepare:
  ensure_objects: [{{base_uri: data/, count: 20, size_spec: 100}}]
"""


async def recorded(tmp_path: Path) -> tuple[Path, Path, str]:
    """A configuration, and a data directory that has 10 of its objects as created, which exist, and one as failed."""
    config = tmp_path / "test.yaml"
    config.write_text(CONFIG.format(root=f"file://{tmp_path / 'objects'}"))
    resolved = load_resolved(config.read_bytes(), str(config)).require()
    objects = object_sets(resolved)[0]
    layout = layout_hash(resolved)
    root = tmp_path / "user"
    cache = LayoutCache.open(root / "agent-7167" / "cache" / layout, 20)
    record = Generation(3, 1, 1, {0: 20}, (Holding(0, 0, 0, 20, 1),))
    cache.save(record)
    cache.states(record, 0, 0).set(np.arange(10, dtype=np.int64), ObjectState.CREATED)
    context = ErrorContext(uri="file:///objects/x")
    cache.note_failed(StatesKey(0, 3, 0), 12, Failure(ErrorKind.PERMISSION, "it is not allowed", context=context))
    await cache.close()
    for index in range(10):
        path = tmp_path / "objects" / objects.key(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    return config, root, layout


async def test_what_is_on_record_is_shown_with_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, root, layout = await recorded(tmp_path)
    assert await in_thread("cache", "show", str(config), "--data-dir", str(root)) == 0
    told = capsys.readouterr().out
    assert layout in told
    assert "generation 3 (unfinished, 1 slots): 10 planned, 10 created" in told
    assert "object 12: it is not allowed (file:///objects/x)" in told
    assert await in_thread("cache", "show", "--json", "--data-dir", str(root)) == 0
    (cache,) = json.loads(capsys.readouterr().out)["caches"]
    assert cache["owner"] == "agent-7167"
    assert cache["generations"][0]["states"]["created"] == 10


async def test_what_is_gone_is_found_and_a_layout_can_be_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, root, layout = await recorded(tmp_path)
    assert await in_thread("cache", "verify", str(config), "--data-dir", str(root)) == 0
    assert "10 of 10 sampled objects are there" in capsys.readouterr().out
    next((tmp_path / "objects").rglob("*-00000004.dat")).unlink()
    assert await in_thread("cache", "verify", str(config), "--data-dir", str(root)) == 1
    assert "00000004" in capsys.readouterr().out
    assert await in_thread("cache", "drop", layout, "--data-dir", str(root)) == 0
    assert not (root / "agent-7167" / "cache" / layout).exists()
    assert next((tmp_path / "objects").rglob("*-00000003.dat")).exists()
    assert await in_thread("cache", "drop", layout, "--data-dir", str(root)) == 2


INDEPENDENT = """\
multi_endpoint: {{namespace: independent, endpoints: ["file://{root}/one/", "file://{root}/two/"]}}
concurrency: 2
workload: [{{op: get, path: "data/*", weight: 1}}]
prepare:
  ensure_objects: [{{base_uri: data/, count: 20, size_spec: 100}}]
"""


async def test_each_endpoint_is_asked_for_its_own_where_they_are_independent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "test.yaml"
    config.write_text(INDEPENDENT.format(root=tmp_path))
    resolved = load_resolved(config.read_bytes(), str(config)).require()
    objects = object_sets(resolved)[0]
    cache = LayoutCache.open(tmp_path / "user" / "agent-7167" / "cache" / layout_hash(resolved), 20)
    record = Generation(1, 1, 1, {0: 20}, (Holding(0, 0, 0, 20, 1),))
    cache.save(record)
    cache.states(record, 0, 0).set(np.arange(20, dtype=np.int64), ObjectState.CREATED)
    await cache.close()
    for index in range(20):
        path = tmp_path / ("one", "two")[index % 2] / objects.key(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    command = ("cache", "verify", str(config), "--data-dir", str(tmp_path / "user"))
    assert await in_thread(*command) == 0
    assert "20 of 20 sampled objects are there" in capsys.readouterr().out
    (tmp_path / "two" / objects.key(7)).rename(tmp_path / "one" / objects.key(7))
    assert await in_thread(*command) == 1
    told = capsys.readouterr().out
    assert "19 of 20 sampled objects are there" in told
    assert f"file://{tmp_path}/two/{objects.key(7)}" in told


async def in_thread(*arguments: str) -> int:
    """The command starts event loops of its own."""
    import asyncio

    return await asyncio.to_thread(main, arguments)
