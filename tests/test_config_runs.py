"""Every configuration that is known, and every example of the documentation, runs: scaled down, on real storage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.config.describe_pages import config_page
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.local_agents import LocalAgents
from tests.scaled import MOST_AGENTS, Place, scaled_config
from tests.servers import ServerUnderTest

CONFIGS = Path(__file__).parent / "data" / "configs"
KNOWN = {path.stem: path.read_text() for path in sorted(CONFIGS.glob("*.yaml"))}
FENCE = re.compile(r"^```yaml\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SECTIONS = (section.partition("\n") for section in config_page().split("\n## ")[1:])
EXAMPLES = {
    f"example of {title.strip('`').replace(' ', '-').lower()}": text
    for title, _, section in SECTIONS
    for text in FENCE.findall(section)
}
SAMPLE = {"s3_single_node", "metadata_operations", "ranges_weights_thresholds"}
RUN_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def place(s3_server: ServerUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, LocalAgents]]:
    """Agents that may do what any of the configurations asks for."""
    directory = tmp_path_factory.mktemp("runs")
    storage = directory / "storage"
    storage.mkdir()
    with LocalAgents.start(
        MOST_AGENTS, directory, environ=s3_server.environ(), allow_path=[storage], allow_custom=True
    ) as agents:
        yield Place(s3_server, "", storage, agents.addresses), agents


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.slow) for name in (*KNOWN, *EXAMPLES)],
)
def test_it_runs(place: tuple[Place, LocalAgents], s3_environ: ServerUnderTest, tmp_path: Path, name: str) -> None:
    here, agents = place
    bucket = s3_environ.bucket(f"run-{re.sub('[^a-z0-9]+', '-', name.lower())}"[:60])
    own = replace(here, bucket=bucket, directory=here.directory / bucket)
    own.directory.mkdir()
    text = scaled_config((KNOWN | EXAMPLES)[name], own)
    path = tmp_path / "scaled.yaml"
    path.write_text(text)
    session = RunSession(RunRequest(path, text.encode(), tmp_path, fresh=True, access=agents.access))
    outcome = asyncio.run(asyncio.wait_for(session.run(), RUN_TIMEOUT_S))
    snapshot = session.snapshot()
    assert outcome.failure is None, f"{outcome.failure}\n{text}"
    # A storage of this size may well miss what the file demands of the real one.
    assert outcome.status == "success" or (outcome.status == "threshold_missed" and "thresholds:" in text), text
    assert all(stage.status.name == "DONE" for stage in snapshot.stages), text
    failed = {stage.name: stage.errors for stage in snapshot.stages if stage.errors}
    assert failed == {}, (failed, text)


def test_the_sample_is_of_what_there_is() -> None:
    assert KNOWN.keys() >= SAMPLE
    assert len(EXAMPLES) == len(FENCE.findall(config_page())) >= 12
