"""`sai3tui attach` without arguments: which run it comes to, and what it says where that is not clear."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui import cli
from sai3tui.errors import ConfigError
from sai3tui.handover import run_below
from sai3tui.results.metadata import metadata_json
from sai3tui.results.views import Outcome
from tests.test_results_files import META


@pytest.fixture
def leading() -> Iterator[ExitStack]:
    """Holds what controllers hold that write somewhere."""
    with ExitStack() as stack:
        yield stack


def run_in(root: Path, name: str, outcome: Outcome | None = None) -> Path:
    directory = root / f"sai3-{name}"
    directory.mkdir()
    (directory / "metadata.json").write_bytes(metadata_json(META, (), outcome, 0))
    (directory / "config.yaml").write_text("target: null://\n")
    (directory / "events.jsonl").write_text("")
    return directory


def led(stack: ExitStack, directory: Path) -> None:
    file = stack.enter_context((directory / "events.jsonl").open("a"))
    fcntl.flock(file, fcntl.LOCK_EX)


def test_the_one_run_that_is_led_is_meant_whatever_else_lies_there(tmp_path: Path, leading: ExitStack) -> None:
    run_in(tmp_path, "done", Outcome("success", 0))
    run_in(tmp_path, "killed")
    (tmp_path / "sai3-empty").mkdir()
    here = run_in(tmp_path, "now")
    led(leading, here)
    assert run_below(tmp_path) == here


def test_a_run_that_nobody_leads_any_more_is_found_too(tmp_path: Path) -> None:
    run_in(tmp_path, "done", Outcome("success", 0))
    killed = run_in(tmp_path, "killed")
    assert run_below(tmp_path) == killed


@pytest.mark.parametrize("change", [{"only": "half"}, {"namespace_found": "elsewhere"}])
def test_a_run_of_another_version_does_not_hide_ours(tmp_path: Path, change: dict[str, str]) -> None:
    strange, killed = run_in(tmp_path, "strange"), run_in(tmp_path, "killed")
    (strange / "metadata.json").write_bytes(metadata_json(replace(META, **change), (), None, 0))  # type: ignore[arg-type]
    assert run_below(tmp_path) == killed


@pytest.mark.parametrize("lead", [True, False])
def test_several_are_named(tmp_path: Path, leading: ExitStack, lead: bool) -> None:
    first, second = run_in(tmp_path, "a"), run_in(tmp_path, "b")
    if lead:
        led(leading, first)
        led(leading, second)
    with pytest.raises(ConfigError) as caught:
        run_below(tmp_path)
    what = f"2 runs are led from below {tmp_path}" if lead else f"2 runs below {tmp_path} have not ended"
    assert caught.value.message == f"{what}, name one: {first}, {second}"


def test_where_there_is_none_it_says_what_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_in(tmp_path, "done", Outcome("success", 0))
    assert cli.main(["attach", "--batch", "--results", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"no run goes on below {tmp_path}: name its results directory, or an agent as HOST:PORT" in told
