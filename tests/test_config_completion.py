"""What is offered at a place of a configuration: what the tables of the language have there, also in broken text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.completion import complete
from sai3tui.config.language import LANGUAGE
from sai3tui.config.resolve import load_resolved
from sai3tui.screens.template_list import templates

FILE = """\
target: s3://bucket/
prepare:
  ensure_objects:
    - base_uri: "data/"
      count: 10
      |
workload:
  - op: get
    path: "data/*"
distributed:
  stages:
    - name: execute
      type: execute
"""


def offered(text: str) -> list[str]:
    """The labels at the place of `|`, of which there is one."""
    lines = text.split("\n")
    row = next(n for n, line in enumerate(lines) if "|" in line)
    column = lines[row].index("|")
    lines[row] = lines[row].replace("|", "")
    return [each.label for each in complete(lines, row, column).suggestions]


def test_keys_of_the_block_at_the_cursor_without_those_that_are_there() -> None:
    found = offered(FILE)
    assert {"fill", "size_spec"} <= set(found)
    assert not {"base_uri", "count", "target", "op"} & set(found)


@pytest.mark.parametrize(
    ("text", "has", "has_not"),
    [
        ("|", "workload", "op"),
        ("du|", "duration", "workload"),
        ("workload:\n  - |", "op", "target"),
        ("workload:\n  - op: |", "get", "execute"),
        ("workload:\n  - op: g|", "get", "put"),
        ("workload:\n  - {op: get, |", "path", "op"),
        ("workload:\n  - {op: |", "put", "path"),
        ("workload:\n- op: get\n  |", "path", "op"),
        ("distributed:\n  stages:\n    - name: x\n      type: |", "cleanup", "get"),
        ("distributed:\n  stages:\n    - name: x\n      |", "type", "name"),
        ("distributed:\n  shared_filesystem: |", "true", "get"),
        ("distributed:\n  barrier_sync:\n    |", "enabled", "workload"),
        ("distributed:\n  agents:\n    - address: a\n      multi_endpoint:\n        |", "endpoints", "address"),
        ("target: x\n\nworkload: [\n  }\nprepare:\n  |", "ensure_objects", "target"),
    ],
)
def test_places(text: str, has: str, has_not: str) -> None:
    found = offered(text)
    assert has in found
    assert has_not not in found


def test_every_suggestion_says_what_it_means() -> None:
    for each in complete([""], 0, 0).suggestions:
        assert LANGUAGE.field(each.label).text in each.text


@given(st.text(alphabet="ab:-{},#\n 'x", max_size=120), st.integers(0, 20), st.integers(0, 30))
def test_no_text_breaks_it(text: str, row: int, column: int) -> None:
    found = complete(text.split("\n"), row, column)
    assert 0 <= found.start <= max(column, len(text))


@pytest.mark.parametrize("name", templates())
def test_a_template_is_valid(name: str) -> None:
    found = load_resolved(templates()[name], f"{name}.yaml")
    assert found.resolved is not None
    assert [problem for problem in found.problems if problem.level.name != "NOTICE"] == []
