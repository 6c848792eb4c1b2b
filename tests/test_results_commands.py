from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.compare_command import compare_results
from sai3tui.errors import Sai3Error
from sai3tui.results.caveats import Caveat, Weight
from sai3tui.results.export import Rows, as_csv, as_json, as_markdown
from sai3tui.results.reader import RunFilter
from sai3tui.results.views import Outcome
from sai3tui.results_commands import list_results, show_results
from tests.test_results_figures import START
from tests.test_results_files import FAILURE, written


def test_runs_are_listed_with_broken_ones_named(tmp_path: Path) -> None:
    written(tmp_path, Outcome("failed", 1, FAILURE))
    (tmp_path / "sai3-broken").mkdir()
    out = io.StringIO()
    assert list_results(tmp_path, False, out) == 0
    header, first, second = out.getvalue().splitlines()
    assert header.split() == ["run", "ended", "took", "agents", "ops", "errors"]
    assert first.split() == ["sai3-20231114-221320-tiny", "failed", "5.00", "s", "1", "25", "1"]
    assert "sai3-broken  cannot be opened" in second
    assert max(map(len, (header, first))) <= 80
    out = io.StringIO()
    list_results(tmp_path, True, out)
    runs = json.loads(out.getvalue())["runs"]
    assert [run["status"] for run in runs] == ["failed", ""]
    assert runs[0]["started"] == "2023-11-14T22:13:20.000Z"


def test_a_run_is_shown_with_what_failed(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("failed", 1, FAILURE, resume="sai3tui --batch x"))
    out = io.StringIO()
    assert show_results(directory, False, out) == 0
    text = out.getvalue()
    assert "1 prepare" in text
    assert "because: HTTP 404" in text
    assert "to go on where it stopped: sai3tui --batch x" in text
    out = io.StringIO()
    show_results(directory, True, out)
    document = json.loads(out.getvalue())
    assert [stage["ops"] for stage in document["stages"]] == [18, 7]
    assert document["failure"]["hint"] == "make it"


@pytest.mark.parametrize("json_asked", [False, True])
def test_a_run_of_somebody_else_does_not_write_to_the_terminal(tmp_path: Path, json_asked: bool) -> None:
    evil = "\x1b[2J\x07\x9b31m\u202e"
    failure = replace(FAILURE, message=f"é{evil}", causes=(evil,), hint=evil)
    directory, _, _ = written(tmp_path, Outcome("failed", 1, failure, resume=evil))
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["config"] = f"x{evil}"
    (directory / "metadata.json").write_text(json.dumps(metadata))
    out = io.StringIO()
    list_results(tmp_path, json_asked, out)
    show_results(directory, json_asked, out)
    compare_results([directory], [[directory]], json_asked, out)
    assert {c for c in out.getvalue() if not c.isprintable()} == {"\n"}
    assert "é" in out.getvalue()
    if json_asked:
        shown = io.StringIO()
        show_results(directory, True, shown)
        assert json.loads(shown.getvalue())["failure"]["hint"] == evil
    table: Rows = [{"a": f"x{evil}", "b": 1}]
    told = [Caveat(Weight.DAMAGE, evil)]
    texts = as_csv(table, ["a", "b"]), as_json(table, ["a", "b"], told), as_markdown(table, ["a", "b"], told)
    assert {c for text in texts for c in text if not c.isprintable()} == {"\n"}


def test_what_is_no_run_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Sai3Error, match=r"metadata\.json"):
        show_results(tmp_path, False, io.StringIO())
    out = io.StringIO()
    assert list_results(tmp_path, False, out) == 0
    assert "no runs" in out.getvalue()
    with pytest.raises(Sai3Error, match="there is no directory"):
        list_results(tmp_path / "nowhere", False, out)


def test_who_names_the_wrong_directory_is_told_the_right_command(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    out = io.StringIO()
    list_results(directory, False, out)
    assert f"results show {directory}" in out.getvalue()
    with pytest.raises(Sai3Error) as caught:
        show_results(tmp_path, False, out)
    assert f"results list {tmp_path}" in caught.value.failure().hint
    out = io.StringIO()
    list_results(tmp_path, False, out, RunFilter(status="aborted"))
    assert out.getvalue() == f"none of the 1 runs in {tmp_path} is wanted\n"


def test_a_list_does_not_count_what_a_run_that_never_ended_did(tmp_path: Path) -> None:
    written(tmp_path, None)[2].close()
    out = io.StringIO()
    list_results(tmp_path, False, out)
    assert out.getvalue().splitlines()[1].split()[1:] == ["unfinished", "1", "?", "?"]
    out = io.StringIO()
    list_results(tmp_path, True, out)
    (run,) = json.loads(out.getvalue())["runs"]
    assert (run["operations"], run["bytes"], run["errors"]) == (None, None, None)


def test_a_list_says_where_its_figures_may_be_wrong(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    path = directory / "metadata.json"
    path.write_text(path.read_text().replace('"ops": 18', '"ops": 19'))
    out = io.StringIO()
    list_results(tmp_path, False, out)
    assert "caution: metadata.json was changed" in out.getvalue()


def test_lists_are_filtered(tmp_path: Path) -> None:
    written(tmp_path, Outcome("failed", 1, FAILURE))
    written(tmp_path, Outcome("success", 0))
    (tmp_path / "sai3-broken").mkdir()

    def count(*words: str) -> int:
        out = io.StringIO()
        options = dict(zip(words[::2], words[1::2], strict=True))
        wanted = RunFilter(options.get("config", ""), options.get("status", ""), int(options.get("since", "0")))
        list_results(tmp_path, True, out, wanted)
        return len(json.loads(out.getvalue())["runs"])

    assert count() == 3
    assert count("config", "TINY") == 2
    assert count("config", "other") == 0
    assert count("status", "failed") == 1
    assert count("since", str(START)) == 2
    assert count("since", str(START + 1)) == 0
