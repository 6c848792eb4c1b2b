"""A prefix belongs to the layout that marked it; what belongs to others is touched with somebody's word only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sai3tui.agent.controls import Controls
from sai3tui.agent.owner import MARKER, ForeignPrefixError, Owner, claim, read_owner, release
from sai3tui.agent.preflight import preflight
from sai3tui.agent.setup import AgentLimits, RunSetup, make_setup
from sai3tui.events import Finding, Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import LayoutCache
from tests.agents import Driver, running_agent, stub_of

PREPARE = "prepare: {ensure_objects: [{base_uri: data/, count: COUNT, size_distribution: 1}]}\n"
GET = 'workload: [{op: get, path: "data/*", weight: 1}]\n'


def setup_of(
    tmp_path: Path, *, count: int = 3, adopt: bool = False, writes: bool = True, workload: str = GET
) -> RunSetup:
    config = (
        f'target: "file://{tmp_path}/target/"\n' + (PREPARE.replace("COUNT", str(count)) if writes else "") + workload
    )
    spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=config.encode(), adopt=adopt)
    (tmp_path / "data").mkdir(exist_ok=True)
    return make_setup(spec, AgentLimits(tmp_path / "data", (tmp_path / "target",)), {})


async def owner_found(setup: RunSetup) -> Finding | None:
    found: list[Finding] = []
    async with Controls(setup.endpoints, {}) as controls:
        await preflight(setup, found.append, controls)
    assert [f for f in found if f.level is Level.ERROR and f.check != "owner"] == []
    return next((f for f in found if f.check == "owner"), None)


async def level_of(setup: RunSetup) -> Level:
    finding = await owner_found(setup)
    assert finding is not None
    assert finding.level is not Level.ERROR or "--adopt" in finding.advice
    return finding.level


async def mark(setup: RunSetup, recorded: int = 0) -> list[str]:
    async with Controls(setup.endpoints, {}) as controls:
        return await claim(setup, controls, recorded)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target" / "data").mkdir(parents=True)
    return tmp_path / "target"


async def test_an_empty_prefix_is_anybodys_and_then_the_layouts(target: Path, tmp_path: Path) -> None:
    ours = setup_of(tmp_path)
    assert await level_of(ours) is Level.OK
    assert await mark(ours) == []
    assert json.loads((target / MARKER).read_text())["layout"] == ours.layout
    (target / "data" / "x").write_text("x")
    assert await level_of(ours) is Level.OK


async def test_another_layout_needs_somebodys_word(target: Path, tmp_path: Path) -> None:
    await mark(setup_of(tmp_path))
    before = (target / MARKER).read_text()
    (target / "data" / "x").write_text("x")
    other = setup_of(tmp_path, count=4)
    assert await level_of(other) is Level.ERROR
    with pytest.raises(ForeignPrefixError, match="belongs to layout"):
        await mark(other)
    assert (target / MARKER).read_text() == before
    adopting = setup_of(tmp_path, count=4, adopt=True)
    assert await level_of(adopting) is Level.INFO
    (told,) = await mark(adopting)
    assert "is taken over" in told
    assert await level_of(other) is Level.OK


async def test_a_prefix_of_which_nothing_is_left_is_anybodys(target: Path, tmp_path: Path) -> None:
    ours, other = setup_of(tmp_path), setup_of(tmp_path, count=4)
    await mark(ours)
    assert await level_of(other) is Level.OK
    assert await mark(other) == []
    assert json.loads((target / MARKER).read_text())["layout"] == other.layout


async def test_what_is_on_record_needs_no_marker_and_a_bare_record_is_none(target: Path, tmp_path: Path) -> None:
    ours = setup_of(tmp_path)
    (target / "data" / "x").write_text("x")
    await LayoutCache.open(ours.cache_dir, 3).close()
    assert await level_of(ours) is Level.ERROR
    with pytest.raises(ForeignPrefixError, match="data/x"):
        await mark(ours, recorded=0)
    assert not (target / MARKER).exists()
    assert await mark(ours, recorded=1) == []


async def test_what_a_workload_would_delete_is_looked_at(target: Path, tmp_path: Path) -> None:
    (target / "old").mkdir()
    (target / "old" / "x").write_text("x")
    setup = setup_of(tmp_path, writes=False, workload='workload: [{op: delete, path: "old/*", weight: 1}]')
    assert await level_of(setup) is Level.ERROR


async def test_objects_that_nobody_marked_are_foreign(target: Path, tmp_path: Path) -> None:
    (target / "elsewhere").write_text("not in our place")
    assert await level_of(setup_of(tmp_path)) is Level.OK
    (target / "data" / "precious").write_text("x")
    finding = await owner_found(setup_of(tmp_path))
    assert finding is not None
    assert (finding.level, "data/precious" in finding.message) == (Level.ERROR, True)
    assert await level_of(setup_of(tmp_path, adopt=True)) is Level.INFO
    assert (target / "data" / "precious").read_text() == "x"


async def test_what_only_reads_needs_no_owner(target: Path, tmp_path: Path) -> None:
    (target / "data" / "precious").write_text("x")
    reading = setup_of(tmp_path, writes=False)
    assert await owner_found(reading) is None
    assert await mark(reading) == []
    assert not (target / MARKER).exists()


async def test_only_ones_own_marker_is_taken_away(target: Path, tmp_path: Path) -> None:
    ours, other = setup_of(tmp_path), setup_of(tmp_path, count=4)
    await mark(ours)
    async with Controls(ours.endpoints, {}) as controls:
        await release(other, controls)
        assert (target / MARKER).exists()
        await release(ours, controls)
    assert not (target / MARKER).exists()


async def test_the_marker_stays_as_long_as_there_are_objects(target: Path, tmp_path: Path) -> None:
    ours = setup_of(tmp_path)
    await mark(ours)
    left = target / "data" / "left"
    left.write_text("x")
    async with Controls(ours.endpoints, {}) as controls:
        await release(ours, controls)
        assert (target / MARKER).exists()
        left.unlink()
        await release(ours, controls)
        assert not (target / MARKER).exists()


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"layout": null}', "{}", "x" * 9999])
async def test_a_marker_that_makes_no_sense_belongs_to_somebody(text: str, target: Path, tmp_path: Path) -> None:
    (target / MARKER).parent.mkdir()
    (target / MARKER).write_text(text)
    (target / "elsewhere").write_text("x")
    setup = setup_of(tmp_path)
    async with Controls(setup.endpoints, {}) as controls:
        found = await read_owner(await controls.of(0))
    assert isinstance(found, Owner)
    assert await level_of(setup) is Level.ERROR


async def test_also_without_preflight_nothing_of_others_is_touched(target: Path, tmp_path: Path) -> None:
    precious = target / "data" / "prepared-00000000.dat"
    precious.write_text("precious")
    config = f'target: "file://{tmp_path}/target/"\nconcurrency: 1\n' + PREPARE.replace("COUNT", "3")
    config += 'workload: [{op: stat, path: "data/*", weight: 1}]\nduration: 0.1\n'
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            for run_id in ("first", "again"):
                # What the first one leaves on this host does not make it ours.
                refused = Driver(stub, config, run_id)
                await refused.run()
                assert refused.failure is not None
                assert (refused.failure.kind, "--adopt" in refused.failure.hint) == (pb.PERMISSION, True)
                assert sorted(path.name for path in target.rglob("*")) == ["data", precious.name]
                assert precious.read_text() == "precious"
            adopting = Driver(stub, config, "adopting")
            adopting.spec.adopt = True
            await adopting.run()
    assert adopting.failure is None
    assert any("is taken over" in note for note in adopting.notes)
    assert (target / MARKER).exists()
