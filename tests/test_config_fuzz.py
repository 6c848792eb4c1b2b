"""Bad input always ends in a report, in bounded time and memory, never in a traceback.

The bounds are watchdogs, far above what is needed; benchmarks/plan.py has the figures.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sai3tui.config.convert import convert_text
from sai3tui.config.language import LANGUAGE
from sai3tui.config.problems import has_errors
from sai3tui.config.resolve import load_resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.config.vocabulary import BlockSpec, Field, Kind
from sai3tui.errors import ConfigError
from sai3tui.workload.plan import make_plan

CONFIGS = sorted((Path(__file__).parent / "data" / "configs").glob("*.yaml"))
WATCHDOG_S = 60
MEMORY = 1 << 30

HEAD = "target: s3://b/\nworkload: [{op: list, path: '', weight: 1}]\n"


def laughs(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return HEAD + "\n".join(lines) + "\n"


def merges(depth: int) -> str:
    lines = ["m0: &m0 {k: 1}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 20)}], k{n}: 1}}" for n in range(1, depth)]
    return HEAD + "\n".join(lines) + "\n"


BOMBS: dict[str, Callable[[], str | bytes]] = {
    "a billion laughs": lambda: laughs(30),
    "merges of merges": lambda: merges(30),
    "an alias of itself": lambda: "a: &a [*a]\n",
    "a merge of itself": lambda: "a: &a {<<: *a}\n",
    "deep lists": lambda: "[" * 100_000,
    "deep mappings": lambda: "{a: " * 100_000,
    "deep blocks": lambda: "".join(" " * n + "a:\n" for n in range(1500)),
    "many keys": lambda: HEAD + "".join(f"key{n}: 1\n" for n in range(30_000)),
    "many unknown keys like known ones": lambda: HEAD + "".join(f"targe{n}: 1\n" for n in range(5_000)),
    "long keys": lambda: HEAD + f"{'k' * 1000}: 1\n? {'k' * 100_000}\n: 1\n",
    "the same key": lambda: "target: a\n" * 10_000,
    "many operations": lambda: "target: s3://b/\nworkload:\n" + "- {op: get, path: 'x*', weight: 1}\n" * 20_000,
    "many sets": lambda: (
        HEAD + "prepare:\n  ensure_objects:\n" + "".join(f"  - {{base_uri: p{n}/, count: 10}}\n" for n in range(3000))
    ),
    "stars": lambda: (
        f"target: s3://b/\nworkload: [{{op: get, weight: 1, path: '{'*a' * 1500}b'}}]\n"
        "prepare: {ensure_objects: [{count: 1000000000000, base_uri: x/}]}\n"
    ),
    "double stars": lambda: (
        f"target: s3://b/\nworkload: [{{op: get, weight: 1, path: '{'**/' * 800}x'}}]\n"
        "prepare: {directory_structure: {width: 2, depth: 60}, ensure_objects: [{count: 0}]}\n"
    ),
    "a huge number": lambda: HEAD + f"seed: {'9' * 200_000}\n",
    "a huge fraction": lambda: HEAD + f"duration: 0.{'9' * 200_000}\n",
    "a huge exponent": lambda: HEAD + "duration: 1e999999999\nconcurrency: 1e400\n",
    "a huge hexadecimal": lambda: HEAD + f"seed: 0x{'f' * 100_000}\n",
    "not a number": lambda: HEAD + "duration: .nan\nconcurrency: .inf\nseed: -.inf\nwarmup_period: .NaN\n",
    "a huge size": lambda: HEAD + "prepare: {ensure_objects: [{count: 1, size_spec: 99999999999999999TiB}]}\n",
    "a huge range": lambda: HEAD + "multi_endpoint: {endpoints: ['s3://h{1...9999}{1...9999}/b/']}\n",
    "many ranges": lambda: HEAD + "multi_endpoint: {endpoints: ['s3://h" + "{1...2}" * 500 + "/b/']}\n",
    "many agents": lambda: HEAD + "distributed: {agents: ['h{1...4096}', 'i{1...4096}']}\n",
    "a wide tree": lambda: (
        HEAD + "prepare: {directory_structure: {width: 4e18, depth: 64}, ensure_objects: [{count: 0}]}\n"
    ),
    "an endless duration": lambda: HEAD + f"duration: {'1s ' * 100_000}\n",
    "a long text": lambda: HEAD.replace("s3://b/", "s3://" + "b" * 3_000_000),
    "too large": lambda: "#" * 5_000_000,
    "unicode": lambda: HEAD + "\u202ename\u200b: \U0001f600\nt\u00e4rget: 1\n\u0661: \u0661\nseed: \u0661\n",
    "surrogates": lambda: b"target: \xed\xa0\x80\n",
    "nul": lambda: b"target: a\0b\n",
    "utf-16": lambda: HEAD.encode("utf-16"),
    "binary": lambda: bytes(range(256)) * 100,
    "tabs": lambda: "target:\n\t- a\n",
    "tags": lambda: "target: !!python/object/apply:os.system [id]\nworkload: !!binary aGk=\n",
    "a directive": lambda: "%YAML 9.9\n%TAG ! tag:x,2000:\n---\ntarget: 1\n",
    "two documents": lambda: HEAD + "---\n" + HEAD,
    "only a comment": lambda: "# nothing\n",
    "a complex key": lambda: "? {a: b}\n: c\n? [1, 2]\n: d\n",
    "a null key": lambda: "~: 1\n? \n: 2\n",
}


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (WATCHDOG_S, WATCHDOG_S))


def test_bombs_end_in_a_report_within_bounds(tmp_path: Path) -> None:
    for number, (name, made) in enumerate(BOMBS.items()):
        source = made()
        (tmp_path / f"{number:02d} {name}.yaml").write_bytes(source.encode() if isinstance(source, str) else source)
    files = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "sai3tui", "validate", "--json", *files],
        capture_output=True,
        timeout=WATCHDOG_S * 2,
        preexec_fn=_limited,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.returncode == 2, done.stderr[-2000:]
    reports = {Path(each["path"]).stem[3:]: each for each in json.loads(done.stdout)["files"]}
    assert set(reports) == set(BOMBS)
    harmless = {
        "many unknown keys like known ones",
        "many keys",
        "many operations",
        "stars",
        "double stars",
        "long keys",
    }
    harmless |= {"many sets", "many agents", "unicode", "a directive"}
    assert {name for name, each in reports.items() if each["ok"]} <= harmless
    for name, each in reports.items():
        for problem in each["problems"]:
            assert problem["line"] >= 1, name
            assert problem["column"] >= 1, name
            assert 0 < len(problem["message"]) < 5000, name


@pytest.mark.parametrize("name", ["a billion laughs", "deep lists", "nul", "utf-16", "not a number", "two documents"])
def test_what_cannot_be_read_cannot_be_converted(name: str) -> None:
    with pytest.raises(ConfigError):
        convert_text(BOMBS[name](), name)


ODD_TEXTS = ["*", "s3://", "s3://b/", "file:///", "://", "1,000", "10m", "8MiB", "h{1...3}", "[1-9]", "-1", "~", ".."]
ODD = st.sampled_from(
    [
        *(None, True, -1, 0, 1e300, 2**63, 2**64, float("nan"), float("inf")),
        *("", "\u0661", "\x85", "a\nb", *ODD_TEXTS),
    ]
)


def likely(field: Field, depth: int) -> st.SearchStrategy[object]:
    """Mostly what the field takes, now and then something else."""
    if field.block is not None and depth:
        below = mappings(field.block, depth - 1)
        if field.kind in (Kind.BLOCKS, Kind.TEXTS_OR_BLOCKS):
            return st.lists(below | ODD if field.kind is Kind.TEXTS_OR_BLOCKS else below, max_size=3)
        return below | ODD
    if field.words:
        return st.sampled_from(field.words) | ODD
    match field.kind:
        case Kind.COUNT | Kind.SIZE | Kind.SECONDS | Kind.NUMBER:
            return st.integers(0, 1000) | st.sampled_from(["1_000", "64KiB", "5m", 2**62]) | ODD
        case Kind.BOOLEAN:
            return st.booleans() | ODD
        case _:
            return st.sampled_from(["s3://b/", "data/", "data/*", "node1:7167", "a{1...3}"]) | ODD


def mappings(spec: BlockSpec, depth: int) -> st.SearchStrategy[object]:
    fields = {name: likely(field, depth) for field in spec.fields for name in field.names}
    needed = {field.name: likely(field, depth) for field in spec.fields if field.required}
    return st.fixed_dictionaries(needed, optional={k: v for k, v in fields.items() if k not in needed})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mappings(LANGUAGE, 3), st.sampled_from(StageChoice))
def test_nothing_that_the_language_can_say_raises(tree: object, only: StageChoice) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    found = load_resolved(text, "fuzz", only=only)
    assert found.ok != has_errors(found.problems)
    assert all(p.line >= 1 and p.column >= 1 and p.message for p in found.problems)
    if found.resolved is not None:
        plan = make_plan(found.resolved.config, found.resolved, found.problems)
        assert json.dumps(plan.to_json(), allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CONFIGS), st.data())
def test_no_damage_to_a_file_makes_anything_raise(path: Path, data: st.DataObject) -> None:
    lines = path.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.integers(0, 4)):
            case 0:
                del lines[place : place + 2]
                lines = lines or [""]
            case 1:
                lines.insert(place, data.draw(st.sampled_from(lines)))
            case 2:
                cut = data.draw(st.integers(0, len(lines[place])))
                added = data.draw(st.sampled_from("{}[]:,-&*!#%@`\"'|> \t\n0"))
                lines[place] = lines[place][:cut] + added + lines[place][cut:]
            case 3:
                lines[place] = data.draw(st.sampled_from([" ", "  ", "- "])) + lines[place]
            case _:
                old, new = data.draw(st.sampled_from([("1", "-1"), ("s3", "az"), ("/", ""), (":", "")]))
                lines[place] = lines[place].replace(old, new)
    found = load_resolved("\n".join(lines), "fuzz")
    assert found.ok != has_errors(found.problems)
    if found.resolved is not None:
        assert make_plan(found.resolved.config, found.resolved, found.problems).layout_hash
