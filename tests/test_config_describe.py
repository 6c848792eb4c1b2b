"""The schema and the pages of the documentation are current, and say what the loader does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from sai3tui.cli import main
from sai3tui.config.convert import convert_text
from sai3tui.config.describe_pages import compatibility_page, config_page
from sai3tui.config.describe_schema import json_schema
from sai3tui.config.language import LANGUAGE
from sai3tui.config.load import load_config
from sai3tui.config.problems import Level
from sai3tui.config.resolve import load_resolved
from sai3tui.config.vocabulary import blocks_below
from sai3tui.config.yaml12 import MappingNode, Node, SequenceNode, parse_yaml
from sai3tui.workload.plan import make_plan

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted((Path(__file__).parent / "data" / "configs").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def predecessor_fields() -> Iterator[tuple[str, str]]:
    for line in (Path(__file__).parent / "data" / "predecessor_fields.txt").read_text().splitlines():
        if not line.startswith("#"):
            block, _, names = line.partition(":")
            yield from (("" if block == "file" else block, name) for name in names.split())


def plain(node: Node) -> object:
    """A node as the values that YAML 1.2 says it has."""
    if isinstance(node, MappingNode):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.value


@pytest.mark.parametrize(
    ("name", "page"), [("config", config_page), ("compatibility", compatibility_page)], ids=["config", "compatibility"]
)
def test_pages_are_current(name: str, page: object) -> None:
    assert callable(page)
    assert (REPOSITORY / "docs" / f"{name}.md").read_text() == page(), "run `make docs`"


def test_every_block_of_the_page_validates_and_plans() -> None:
    text = (REPOSITORY / "docs" / "config.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) >= 10
    for example in examples:
        found = load_resolved(example, "example")
        resolved = found.require()
        assert [p for p in found.problems if p.level is Level.WARNING] == []
        assert make_plan(resolved.config, resolved).objects > 0
        VALIDATOR.validate(yaml.safe_load(example))
        assert convert_text(example, "example").changes == () or "distributed" in example


def test_the_page_has_every_block_and_its_links_lead_there() -> None:
    text = config_page()
    anchors = {title.strip("`").replace(" ", "-") for title in re.findall(r"^## (.*)$", text, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors
    assert {block.name.replace(" ", "-") for block in blocks_below(LANGUAGE) if block.name} <= anchors


@pytest.mark.parametrize(("block", "name"), list(predecessor_fields()))
def test_every_field_of_the_predecessor_is_accounted_for(block: str, name: str) -> None:
    (spec,) = [each for each in blocks_below(LANGUAGE) if each.name == block]
    assert spec.find(name) is not None, f"{block}.{name}"
    assert f"`{name}`" in compatibility_page()


def test_what_is_said_to_be_new_is_not_the_predecessors() -> None:
    known = set(predecessor_fields())
    for block in blocks_below(LANGUAGE):
        for field in block.fields:
            if field.ours and block.name not in ("sizes", "bounds of sizes", "ensure_objects"):
                assert not any((block.name, name) in known for name in field.names), f"{block.name}.{field.name}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_real_files_match_the_schema(path: Path) -> None:
    VALIDATOR.validate(plain(parse_yaml(path.read_bytes())))
    VALIDATOR.validate(plain(parse_yaml(convert_text(path.read_bytes(), path.name).text)))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "target: s3://b/",
        "workload: []\nprepare: {count: 1}",
        "workload: [{op: gett, weight: 1}]",
        "workload: [{op: get, weight: -1}]",
        "workload: []\nduration: soon",
        "workload: []\nverify: maybe",
        "workload: []\nprepare: {ensure_objects: [{count: 1, size_spec: {type: normal}}]}",
        "workload: []\ndistributed: {agents: [h], stages: [{name: a, order: 1}]}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses_or_warns_of(text: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
    assert any(p.level is not Level.NOTICE for p in load_config(text, "t").problems)


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_strict_makes_warnings_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("target: s3://b/\nworkload: [{op: list, path: '', weight: 1}]\ncolour: red\n")
    assert main(["validate", str(path)]) == 0
    assert main(["validate", "--strict", str(path)]) == 2
    assert f"{path}:3:1: error: unknown key 'colour'" in capsys.readouterr().out


def test_an_empty_list_of_agents_takes_those_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("target: s3://b/\nworkload: [{op: list, path: '', weight: 1}]\ndistributed: {agents: []}\n")
    assert main(["validate", str(path)]) == 2
    assert main(["validate", "--agents", "h1,h2:8000", str(path)]) == 0
    assert main(["plan", "--json", "--agents", "h1,h2:8000", str(path)]) == 0
    document = json.loads(capsys.readouterr().out.partition("ok\n")[2])
    assert [agent["address"] for agent in document["agents"]] == ["h1:7167", "h2:8000"]
