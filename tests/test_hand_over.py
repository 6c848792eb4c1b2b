"""Agents killed with SIGKILL while others live: what they leave is done by those, and the result says so."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sai3tui.agent.checkpoint import SUFFIX, unpack
from sai3tui.config.resolve import load_resolved
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Outcome
from sai3tui.events import Event, PutTwice, Report, WorkHandedOver
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState, wanted
from sai3tui.workload.content import ContentMaker, Payload
from sai3tui.workload.objects import object_sets
from tests.agents import AgentUnderTest, running_agent
from tests.resuming import config_of, content_of, versions, workers_of
from tests.servers import ServerUnderTest
from tests.waiting import wait_until_async

OBJECTS = 600
SAMPLE = 1
POINTS = 200


@dataclass
class Ran:
    outcome: Outcome
    items: list[Event | Report]

    @property
    def result(self) -> Path:
        return Path(self.outcome.results)

    def of(self, kind: type[Event]) -> list[Event | Report]:
        return [item for item in self.items if isinstance(item, kind)]


def with_agents(config: str, agents: Sequence[AgentUnderTest]) -> str:
    for number, agent in enumerate(agents, 1):
        config = config.replace(f"127.0.0.1:{7000 + number}", agent.address)
    return config


async def play(
    tmp_path: Path,
    config: str,
    agents: Sequence[AgentUnderTest],
    meanwhile: Callable[[RunSession], asyncio.Future[None]] | None = None,
    **changes: object,
) -> Ran:
    items: list[Event | Report] = []
    text = with_agents(config, agents).encode()
    session = RunSession(RunRequest(tmp_path / "fleet.yaml", text, results_root=tmp_path, **changes))  # type: ignore[arg-type]
    session.listen(items.append)
    other = meanwhile(session) if meanwhile is not None else None
    outcome = await asyncio.wait_for(session.run(), 90)
    if other is not None:
        await other
    return Ran(outcome, items)


def fleet(
    stack: ExitStack, tmp_path: Path, server: ServerUnderTest, count: int, name: str = "a"
) -> list[AgentUnderTest]:
    return [
        stack.enter_context(running_agent(tmp_path, environ=server.environ(), name=f"{name}{number}"))
        for number in range(count)
    ]


def kill(agent: AgentUnderTest) -> None:
    os.kill(agent.child.pid, signal.SIGKILL)
    agent.child.process.wait()


def killer(
    server: ServerUnderTest,
    bucket: str,
    agent: AgentUnderTest,
    point: Callable[[int], bool],
    left: dict[str, int] | None = None,
) -> Callable[[RunSession], asyncio.Future[None]]:
    """Kills `agent` once the number of objects that the server holds is as `point` says. What it holds then is added
    to `left`."""

    async def wait(session: RunSession) -> None:
        assert await wait_until_async(
            lambda: point(len(versions(server, bucket))) or session.snapshot().outcome is not None, 60
        )
        assert session.snapshot().outcome is None, "the run was over before an agent could be killed"
        kill(agent)
        if left is not None:
            left.update(versions(server, bucket))

    return lambda session: asyncio.ensure_future(wait(session))


def assert_content(server: ServerUnderTest, bucket: str, config: str) -> None:
    """Every object has the bytes that its index says, whoever wrote it."""
    objects = object_sets(load_resolved(config, "test.yaml").require())[0]
    maker, payload = ContentMaker(objects.content, objects.seed), Payload()
    for index in range(objects.count):
        size = objects.size(index)
        payload.become(maker, 1, index, 0, size)
        assert content_of(server, bucket, objects.key(index)) == bytes(payload.piece(0, size)), index


@pytest.mark.parametrize(
    "seed", [*range(SAMPLE), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(SAMPLE, POINTS))]
)
async def test_what_a_killed_agent_leaves_of_prepare_is_written_by_the_others(
    s3_server: ServerUnderTest, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    bucket = s3_server.bucket(f"hand-over-{seed}")
    config = config_of(s3_server, bucket, "force_overwrite: true", agents=3, stages="prepare", objects=OBJECTS)
    point = random.Random(seed).randrange(OBJECTS // 20, OBJECTS // 3)
    left: dict[str, int] = {}
    with ExitStack() as stack:
        agents = fleet(stack, tmp_path, s3_server, 3)
        ran = await play(tmp_path, config, agents, killer(s3_server, bucket, agents[1], lambda n: n >= point, left))
    assert (ran.outcome.status, ran.outcome.exit_code) == ("incomplete", 6), ran.outcome.failure
    after = versions(s3_server, bucket)
    assert len(after) == OBJECTS
    rewritten = [key for key in left if left[key] != after[key]]
    (handed,) = ran.of(WorkHandedOver)
    assert isinstance(handed, WorkHandedOver)
    assert handed.agent == "agent-2"
    assert 0 < handed.objects <= OBJECTS // 3
    assert set(handed.to) <= {"agent-1", "agent-3"}
    metadata = json.loads((ran.result / "metadata.json").read_text())
    (stage,) = metadata["stages"]
    assert stage["objects"] == OBJECTS
    record_property("agent lost: objects handed over", handed.objects)
    record_property("agent lost: objects PUT twice, what it had not reported yet included", len(rewritten))
    assert not ran.of(PutTwice)
    away = [span for span in metadata["coverage"] if span["reason"]]
    assert [span["agent"] for span in away] == ["agent-2"]
    assert "agent-2" in (ran.result / "STATUS.txt").read_text().partition("=== Coverage ===")[2]
    assert_content(s3_server, bucket, config)


async def test_an_agent_killed_in_cleanup_leaves_no_object(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("hand-over-cleanup")
    config = config_of(s3_server, bucket, "force_overwrite: true", agents=2, stages="prepare cleanup", objects=OBJECTS)
    full = False

    def half_gone(count: int) -> bool:
        nonlocal full
        full = full or count == OBJECTS
        return full and count < OBJECTS - 50

    with ExitStack() as stack:
        agents = fleet(stack, tmp_path, s3_server, 2)
        ran = await play(tmp_path, config, agents, killer(s3_server, bucket, agents[0], half_gone))
    assert ran.outcome.exit_code == 6, ran.outcome.failure
    assert versions(s3_server, bucket) == {}


async def test_a_prepare_resumes_on_other_hosts_and_with_another_number_of_agents(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("other-hosts")
    many = 4 * OBJECTS

    def config_for(agents: int) -> str:
        config = config_of(s3_server, bucket, "force_overwrite: true", agents=agents, objects=many)
        return config.replace("concurrency: 4", "concurrency: 2\ncache_checkpoint_interval_secs: 0")

    with ExitStack() as stack:
        agents = fleet(stack, tmp_path, s3_server, 3)

        def all_of_them(session: RunSession) -> asyncio.Future[None]:
            async def wait() -> None:
                # What has been reported is what the controller knows when all hosts are gone.
                assert await wait_until_async(lambda: any(s.done for s in session.snapshot().stages), 60)
                for agent in agents:
                    kill(agent)

            return asyncio.ensure_future(wait())

        broken = await play(tmp_path, config_for(3), agents, all_of_them)
        assert broken.outcome.exit_code == 1
        assert broken.outcome.resume == f"sai3tui resume {broken.outcome.results}"
    before = versions(s3_server, bucket)
    assert 0 < len(before) < many
    with ExitStack() as stack:
        agents = fleet(stack, tmp_path, s3_server, 2, "other")
        ran = await play(tmp_path, config_for(2), agents)
    assert ran.outcome.exit_code == 0, ran.outcome.failure
    after = versions(s3_server, bucket)
    assert len(after) == many
    (stage,) = json.loads((ran.result / "metadata.json").read_text())["stages"]
    assert 0 < stage["existed"] <= sum(before[key] == after[key] for key in before)
    assert stage["objects"] == many


@pytest.mark.slow
async def test_a_prepare_resumes_from_its_checkpoints_alone(
    s3_server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hosts are gone, the controller's too, and there are fewer of them afterwards."""
    bucket = s3_server.bucket("from-checkpoints")

    def config_for(agents: int) -> str:
        config = config_of(s3_server, bucket, "force_overwrite: true", agents=agents, objects=OBJECTS)
        return config + "cache_checkpoint_interval_secs: 1\n"

    def written() -> list[str]:
        return [key for key in s3_server.keys(bucket, ".sai3tui/") if key.endswith(SUFFIX)]

    with ExitStack() as stack:
        agents = fleet(stack, tmp_path, s3_server, 3)

        def die(session: RunSession) -> asyncio.Future[None]:
            async def wait() -> None:
                assert await wait_until_async(lambda: len(versions(s3_server, bucket)) > OBJECTS // 4, 60)
                for pid in [pid for agent in agents for pid in workers_of(agent)]:
                    os.kill(pid, signal.SIGSTOP)
                assert await wait_until_async(lambda: len(written()) == len(agents), 60)
                for agent in agents:
                    kill(agent)

            return asyncio.ensure_future(wait())

        broken = await play(tmp_path, config_for(3), agents, die)
        assert broken.outcome.exit_code == 1
    before = versions(s3_server, bucket)
    assert len(before) < OBJECTS, "prepare was over before its agents could be killed"
    known = await in_checkpoints(s3_server, bucket, written(), config_for(3), tmp_path)
    assert known
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another-controller"))
    with ExitStack() as stack:
        ran = await play(tmp_path, config_for(2), fleet(stack, tmp_path, s3_server, 2, "other"))
    assert ran.outcome.exit_code == 0, ran.outcome.failure
    after = versions(s3_server, bucket)
    assert len(after) == OBJECTS
    assert {key for key in known if before[key] != after[key]} == set()
    (stage,) = json.loads((ran.result / "metadata.json").read_text())["stages"]
    assert (stage["existed"], stage["objects"]) == (len(known), OBJECTS)
    assert_content(s3_server, bucket, config_for(2))


async def in_checkpoints(
    server: ServerUnderTest, bucket: str, checkpoints: Sequence[str], config: str, tmp_path: Path
) -> set[str]:
    """The keys of all objects that checkpoints have as created."""
    objects = object_sets(load_resolved(config, "test.yaml").require())[0]
    found: set[str] = set()
    for number, checkpoint in enumerate(checkpoints):
        directory = tmp_path / f"unpacked-{number}"
        directory.mkdir()
        unpack(server.client().get_object(Bucket=bucket, Key=checkpoint)["Body"].read(), directory)
        cache = LayoutCache.open(directory, objects.count)
        for known in cache.known():
            for (_, slot), states in known.slots.items():
                for ks in states.where(wanted(ObjectState.CREATED)):
                    found.update(objects.key(slot + int(k) * known.record.slots) for k in ks)
        await cache.close()
    return found


@pytest.mark.slow
async def test_more_agents_than_before_clean_up_what_one_has_made(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("more-agents")
    with ExitStack() as stack:
        one = fleet(stack, tmp_path, s3_server, 1)
        made = await play(tmp_path, config_of(s3_server, bucket, "force_overwrite: true", objects=OBJECTS), one)
        assert made.outcome.exit_code == 0, made.outcome.failure
        two = [*one, *fleet(stack, tmp_path, s3_server, 1, "new")]
        config = config_of(
            s3_server, bucket, "force_overwrite: false", agents=2, stages="prepare cleanup", objects=OBJECTS
        )
        ran = await play(tmp_path, config, two)
    assert ran.outcome.exit_code == 0, ran.outcome.failure
    prepared, cleaned = json.loads((ran.result / "metadata.json").read_text())["stages"]
    assert (prepared["objects"], prepared["existed"]) == (OBJECTS, OBJECTS)
    assert cleaned["objects"] == OBJECTS
    assert versions(s3_server, bucket) == {}
    assert not s3_server.keys(bucket, ".sai3tui/")
