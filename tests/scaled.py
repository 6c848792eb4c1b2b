"""Configurations as people have them, made small enough to run here: the same fields, stages and operations, on
loopback storage and local agents, with few and small objects and short times."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sai3tui.config.expand import expand
from sai3tui.config.locations import parse_location
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import OpSource, Resolved
from sai3tui.config.units import UnitError, parse_count, parse_size
from sai3tui.config.yaml12 import MappingNode, Node, SequenceNode, parse_yaml
from sai3tui.errors import ConfigError
from sai3tui.workload.objects import layout_hash, object_sets
from tests.servers import ServerUnderTest

MOST_AGENTS = 2
LISTED = 40
SMALL = 16 * 1024

Value = Any


def plain(node: Node) -> Value:
    """A node as the values that YAML 1.2 says it has."""
    if isinstance(node, MappingNode):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.value


def _smaller(value: Value) -> Value:
    """A size, in the order of the other sizes."""
    try:
        size = parse_size(value)
    except UnitError:
        return value
    return size if size <= SMALL else SMALL + (size - SMALL) // 1024


def _at_most(most: int) -> Callable[[Value], Value]:
    def limited(value: Value) -> Value:
        try:
            return min(parse_count(value), most)
        except UnitError:
            return value

    return limited


_NUMBERS: dict[str, Callable[[Value], Value]] = {
    "count": _at_most(20),
    "width": _at_most(2),
    "depth": _at_most(2),
    "files_per_dir": _at_most(3),
    "concurrency": _at_most(4),
    "concurrency_override": _at_most(4),
    "iops": _at_most(40),
    "operations": _at_most(30),
    "expected_tasks": _at_most(30),
    "processes": _at_most(1),
    "duration": lambda _: "600ms",
    "duration_secs": lambda _: "600ms",
    "max_duration": lambda _: "600ms",
    "warmup_period": lambda _: "100ms",
    "post_prepare_delay": lambda _: 0,
    "start_delay": lambda _: 0,
    "command": lambda _: "/bin/echo",
    "script": lambda _: "/bin/echo",
    "kv_cache_dir": lambda _: None,
    "ca_file": lambda _: None,
    **{
        name: _smaller
        for name in (
            *("size", "object_size", "file_size", "min_size", "max_size", "min", "max", "mean", "std_dev", "fixed"),
            *("size_spec", "size_distribution", "align", "bytes", "chunk_size", "min_split_size"),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where scaled configurations run. `agents` are addresses of agents that may touch `directory`."""

    server: ServerUnderTest
    bucket: str
    directory: Path
    agents: Sequence[str]

    def uri(self, text: str) -> str:
        """Where what stands at `text` stands here."""
        try:
            location = parse_location(text if text.endswith("/") else text + "/")
        except ConfigError:
            return text
        if not location.is_object_store:
            scheme = "direct" if location.scheme == "direct" and direct_works(self.directory) else "file"
            return f"{scheme}://{self.directory}{location.prefix}"
        server = self.server.host_ports[location.host[-1:].isdigit() and int(location.host[-1]) % 2]
        return f"s3+http://{server}/{self.bucket}/{location.bucket}/{location.prefix}"

    def endpoints(self, texts: Sequence[Value]) -> list[Value]:
        found: list[Value] = []
        for text in texts:
            weight = text.get("weight", 1) if isinstance(text, dict) else None
            for each in expand(str(text["uri"]) if isinstance(text, dict) else str(text)):
                place = self.uri(each)
                if all(place != (other["uri"] if isinstance(other, dict) else other) for other in found):
                    found.append(place if weight is None else {"uri": place, "weight": weight})
        return found[:2]

    def fleet(self, agents: Sequence[Value]) -> list[Value]:
        listed = [each for each in agents for _ in expand(str(each["address"] if isinstance(each, dict) else each))]
        found: list[Value] = []
        for each, address in zip(listed, self.agents, strict=False):
            if isinstance(each, dict):
                found.append({**self.scaled(each), "address": address, "id": f"agent-{len(found) + 1}"})
            else:
                found.append(address)
        return found

    def scaled(self, value: Value, name: str = "") -> Value:
        if isinstance(value, dict):
            made = {key: self._field(key, each, name) for key, each in value.items()}
            if "directory_structure" in made:
                # As many as the smaller tree holds.
                made["ensure_objects"] = [{**each, "count": 0} for each in made["ensure_objects"]]
            return made
        if isinstance(value, list):
            return [self.scaled(each, name) for each in value]
        return value

    def _field(self, key: str, value: Value, block: str) -> Value:
        match key:
            case "endpoints" if isinstance(value, list):
                return self.endpoints(value)
            case "agents" if isinstance(value, list):
                return self.fleet(value)
            case "until_steady":
                return {**value, "max": "1s"}
            case "thresholds":
                return value
            case "target" | "base_uri" | "path" | "target_override" if "://" in str(value):
                return self.uri(str(value)) if str(value).endswith("/") or "*" not in str(value) else self._glob(value)
        made = _NUMBERS.get(key)
        return made(value) if made is not None and not isinstance(value, dict | list) else self.scaled(value, key)

    def _glob(self, text: str) -> str:
        head, _, tail = text.rpartition("/")
        return self.uri(head + "/") + tail


def direct_works(directory: Path) -> bool:
    """Whether the file system has O_DIRECT."""
    probe = directory / "probe"
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def scaled_config(text: str | bytes, place: Place) -> str:
    """The configuration, to be run at `place`. Makes what has to be there before: directories, and objects that no
    prepare makes."""
    tree = place.scaled(plain(parse_yaml(text)))
    assert isinstance(tree, dict)
    tree.setdefault("duration", "600ms")
    # A read that meets a file while it is overwritten is no failure of ours.
    tree.setdefault("atomic_create", True)
    if isinstance(tree.get("distributed"), dict):
        tree["distributed"].setdefault("start_delay", 0)
    small = yaml.safe_dump(tree, sort_keys=False)
    resolved = load_resolved(small, "scaled.yaml").require()
    _make_what_is_needed(resolved, place)
    return small


def _make_what_is_needed(resolved: Resolved, place: Place) -> None:
    sets = object_sets(resolved)
    keys = {objects.key(index) for objects in sets for index in range(objects.count)}
    keys |= {op.pattern for op in resolved.ops if op.source is OpSource.NEW}
    keys |= {f"{s:02x}/" + "x" for s in range(resolved.shards)} if resolved.shards else set()
    keys |= {
        f"{op.pattern}{s:02x}/" for s in range(resolved.shards) for op in resolved.ops if op.source is OpSource.NEW
    }
    keys |= {f".sai3tui/{layout_hash(resolved)}/1/", ".sai3tui/probe"}
    listed = [op.pattern for op in resolved.ops if op.source is OpSource.LISTED and op.weight]
    for agent in resolved.agents:
        for endpoint in agent.endpoints:
            location = endpoint.location
            root = place.server.data_dir / location.bucket / location.prefix
            if not location.is_object_store:
                root = Path(location.prefix)
            for directory in {key.rpartition("/")[0] for key in keys}:
                (root / directory).mkdir(parents=True, exist_ok=True)
            for pattern in listed:
                for number in range(LISTED):
                    _put(place, location.bucket, location.prefix, example(pattern, number), location.is_object_store)


def example(pattern: str, number: int) -> str:
    """A key that matches."""
    if "*" not in pattern:
        return pattern if pattern and not pattern.endswith("/") else f"{pattern}x{number}"
    head, _, tail = pattern.replace("**/", "").rpartition("*")
    return f"{head.replace('*', 'x')}{number}{tail}"


def _put(place: Place, bucket: str, prefix: str, key: str, object_store: bool) -> None:
    path = place.server.data_dir / bucket / prefix / key if object_store else Path(prefix) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if object_store:
        place.server.client().put_object(Bucket=bucket, Key=prefix + key, Body=b"x" * 1000)
    else:
        path.write_bytes(b"x" * 1000)


def errors_of(stages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Operations that failed, by stage."""
    return {str(stage["name"]): int(stage["errors"]) for stage in stages if stage.get("errors")}
