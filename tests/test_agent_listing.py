"""Objects that exist already (`source: list`): found once for the fleet, never taken for none when a LIST fails."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.events import Finding, Note, Report
from sai3tui.workload.manifest import Manifest, Sample
from tests.agents import Driver, running_agent, stub_of
from tests.fault_server import FaultServer, Step, answer, error_document

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(st.lists(st.tuples(KEYS, st.integers(0, 2**62)), max_size=30))
def test_a_manifest_survives_being_sent(found: list[tuple[str, int]]) -> None:
    manifest = Manifest.of(found)
    again = Manifest.decode(manifest.encode())
    for each in (manifest, again):
        assert [(each.key(index), each.size(index)) for index in range(len(each))] == found
    assert manifest.hashes().tolist() == again.hashes().tolist()


@pytest.mark.parametrize("data", [b"", b"nothing", Manifest.of([("a", 1)]).encode()[:-3]])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        Manifest.decode(data)


@given(st.integers(1, 200), st.integers(0, 900), st.randoms(use_true_random=False))
def test_a_sample_is_bounded_and_follows_from_the_keys_alone(most: int, count: int, order: Random) -> None:
    keys = [f"data/{number:08d}" for number in range(count)]
    samples = []
    for _ in range(2):
        sample = Sample(most)
        for number, key in enumerate(keys):
            sample.add(number * 3 // max(1, count), key, number)
        manifest = sample.manifest()
        assert sample.seen == count
        assert len(manifest) == sum(sample.counts(3)) <= most
        assert sample.whole is (count <= most)
        samples.append({manifest.key(index) for index in range(len(manifest))})
        order.shuffle(keys)
    assert samples[0] == samples[1]
    if count > most >= 20:
        # About half are left each time, never next to none.
        assert len(samples[0]) >= most // 8
        assert max(samples[0]) > f"data/{count // 2:08d}" > min(samples[0])


FLEET = """
target: file://TARGET/
concurrency: 4
workload:
  - {op: get, path: "old/**", weight: 50}
  - {op: delete, path: "old/*", weight: 50}
distributed:
  path_selection: weighted
  shared_filesystem: true
  start_delay: 0
  stages:
    - {name: execute, order: 1, type: execute, completion: duration, duration: 3s}
  agents:
    - {id: one, address: "ADDRESS1"}
    - {id: two, address: "ADDRESS2"}
"""


async def test_one_agent_lists_for_all_and_deletes_meet_no_read(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "old").mkdir(parents=True)
    for number in range(400):
        (target / f"old/file-{number}").write_bytes(bytes(number))
    items: list[object] = []
    with ExitStack() as stack:
        text = FLEET.replace("TARGET", str(target))
        for number in (1, 2):
            home = tmp_path / f"agent-{number}"
            home.mkdir()
            agent = stack.enter_context(running_agent(home, "--allow-path", str(target)))
            text = text.replace(f"ADDRESS{number}", agent.address)
        request = RunRequest(Path("/somewhere/fleet.yaml"), text.encode(), results_root=tmp_path, adopt=True)
        session = RunSession(request, dict(os.environ))
        session.listen(items.append)
        outcome = await asyncio.wait_for(session.run(), 60)
    assert outcome.exit_code == 0, (outcome, [item for item in items if isinstance(item, Finding)])
    (stage,) = session.snapshot().stages
    assert stage.errors == 0
    told = [item for item in items if isinstance(item, Note) and "objects exist for" in item.text]
    assert {(note.agent, note.text) for note in told} == {
        ("one", "400 objects exist for get 'old/**'"),
        ("one", "400 objects exist for delete 'old/*'"),
    }
    # What is deleted was deleted once, and it is about one half, or as far as a busy host gets.
    left = len(list((target / "old").iterdir()))
    assert 120 < left < 400
    reports = [each for item in items if isinstance(item, Report) for each in item.ops]
    assert sum(each.ops for each in reports if each.op is Op.DELETE) == 400 - left
    assert sum(each.ops for each in reports if each.op is Op.GET) > 0


LISTING = """
target: s3+http://ADDRESS/bucket/
concurrency: 2
workload:
  - {op: get, path: "data/*", weight: 1, source: list}
distributed:
  stages:
    - {name: execute, order: 1, type: execute, completion: duration, duration: 1s}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""


async def test_a_list_that_fails_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    busy = answer(error_document("SlowDown"), "503 Slow Down", "Content-Type: application/xml")
    async with FaultServer([Step(busy)] * 20) as server:
        address = f"{server.endpoint.host}:{server.endpoint.port}"
        with running_agent(tmp_path) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, LISTING.replace("ADDRESS", address))
                await driver.run()
        assert all(b"list-type=2" in head for head in server.heads)
    failure = driver.failure
    assert failure is not None
    assert failure.http_status == 503
    assert failure.op == "list"
    assert "there is nothing" not in failure.message


TREE = """
target: file://TARGET/
concurrency: 2
prepare:
  directory_structure: {width: 3, depth: 2, files_per_dir: 1, distribution: bottom, dir_mask: "d%d_w%d.dir"}
  ensure_objects: [{base_uri: data/, count: 0, size_spec: 10}]
workload: []
distributed:
  shared_filesystem: true
  tree_creation_mode: MODE
  start_delay: 0
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
  agents:
    - {id: one, address: "ADDRESS1"}
    - {id: two, address: "ADDRESS2"}
"""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("coordinator", {("one", "12 directories are there (coordinator)")}),
        ("isolated", {(agent, "6 directories are there (isolated)") for agent in ("one", "two")}),
        ("concurrent", set()),
    ],
)
async def test_directories_are_made_as_the_mode_says(tmp_path: Path, mode: str, expected: set[tuple[str, str]]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    items: list[object] = []
    with ExitStack() as stack:
        text = TREE.replace("TARGET", str(target)).replace("MODE", mode)
        for number in (1, 2):
            home = tmp_path / f"agent-{number}"
            home.mkdir()
            agent = stack.enter_context(running_agent(home, "--allow-path", str(target)))
            text = text.replace(f"ADDRESS{number}", agent.address)
        request = RunRequest(Path("/somewhere/tree.yaml"), text.encode(), results_root=tmp_path, adopt=True)
        session = RunSession(request, dict(os.environ))
        session.listen(items.append)
        outcome = await asyncio.wait_for(session.run(), 60)
    assert outcome.exit_code == 0, outcome
    told = {(item.agent, item.text) for item in items if isinstance(item, Note) and "directories" in item.text}
    assert told == expected
    assert len(list(target.rglob("file_*"))) == 9
