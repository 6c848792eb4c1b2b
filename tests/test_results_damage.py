"""Results directories that are truncated, edited or foreign, given to every `sai3tui results` command: an error that
names the file, or the run's true figures, or figures with what does not fit said beside them. Never a traceback.

What a killed controller leaves is no damage; damage of that is told from it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from sai3tui.cli import main
from sai3tui.config.ops import Op
from sai3tui.controller.replay import load_replay
from sai3tui.results.tally import Tally
from sai3tui.results.views import Outcome
from sai3tui.results.writer import RunWriter
from tests.test_results_figures import STAGES, report, stats
from tests.test_results_files import META, items, written

READ = ("metadata.json", "events.jsonl", "metrics.zst", "seconds.zst", "totals.zst", "config.yaml")
SEALED = (*READ, "STATUS.txt", "plan.json", "perf_log.tsv", "agents/a/perf_log.tsv", "01_prepare_results.tsv")
Damage = Callable[[Path, random.Random], None]


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def fill(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def lose(path: Path, rng: random.Random) -> None:
    path.unlink()


def shadow(path: Path, rng: random.Random) -> None:
    """Something else of that name."""
    path.unlink()
    path.mkdir()


def edit(path: Path, rng: random.Random) -> None:
    """Another digit somewhere, as a person would."""
    data = bytearray(path.read_bytes())
    digits = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if digits:
        data[rng.choice(digits)] = rng.choice(b"123456789")
    path.write_bytes(data)


def double(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() * 2)


DAMAGES: tuple[Damage, ...] = (cut, flip, fill, lose, shadow, edit, double)


Document = dict[str, Any]


def shown(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Document, list[str]]:
    """What `show --json` says of the run; and what it says of damage."""
    code = main(["results", "show", str(directory), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if not said.out:
        assert str(directory) in said.err
        return {}, [said.err]
    document = json.loads(said.out)
    damage = [each["text"] for each in document.pop("caveats") if each["weight"] == "damage"]
    assert code == (1 if damage else 0)
    # Which files there are, and where, is no figure.
    for name in ("path", "files"):
        del document[name]
    return document, damage


def told_everywhere(directory: Path, damage: list[str], whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command names it, and every export carries it."""
    target = directory.parent / "out"

    def run(*words: str) -> tuple[str, str]:
        code = main(["results", *words])
        said = capsys.readouterr()
        # Runs without a stage in common are refused.
        assert code == 1 or (words[0], code, said.out) == ("compare", 2, "")
        assert "Traceback" not in said.err
        return said.out, said.err

    for words in (("show", str(directory)), ("compare", str(whole), str(directory))):
        out, err = run(*words)
        assert all(f"caution: {each}" in out or f"{directory.name}: {each}" in out for each in damage) or err
    for form in ("csv", "json", "markdown"):
        out, err = run("export", str(directory), "--format", form)
        assert all(f"damage: {each}" in err for each in damage)
        assert form == "csv" or all(each.split("\n")[0][:20] in out for each in damage)
    run("export", str(directory), "--format", "csv", "--table", "intervals", "-o", f"{target}.csv")
    assert all(f"damage: {each}" in Path(f"{target}.caveats.txt").read_text() for each in damage)
    run("export", str(directory), "--format", "xlsx", "-o", f"{target}.xlsx")
    book = openpyxl.load_workbook(f"{target}.xlsx")
    assert [row[1].value for row in book["Caveats"].iter_rows(min_row=2) if row[0].value == "damage"] == damage
    assert "Damage" in [row[0].value for row in book["Summary"].iter_rows()]
    run("report", str(directory), "-o", f"{target}.html")
    text = Path(f"{target}.html").read_text()
    assert all(text.count(escape(each)) >= 2 for each in damage)


def damaged(root: Path, seed: int, capsys: pytest.CaptureFixture[str], *, all_commands: bool) -> None:
    rng = random.Random(seed)
    whole, _, _ = written(root, Outcome("success", 0))
    directory = root / "sai3-damaged"
    shutil.copytree(whole, directory)
    true, none = shown(directory, capsys)
    assert none == []
    for name in rng.sample(SEALED, rng.choice((1, 1, 1, 2))):
        rng.choice(DAMAGES)(directory / name, rng)
    now, damage = shown(directory, capsys)
    assert now == true or damage
    assert main(["results", "list", str(root)]) == 0
    capsys.readouterr()
    if all_commands and now and damage:
        told_everywhere(directory, damage, whole, capsys)


def killed(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[Document]]:
    """A run whose controller was killed, and what is said of it after each of its last flushes."""
    tally = Tally(STAGES)
    writer = RunWriter.create(root / "live", META, tally, b"target: x\n", {"objects": 1})
    every = items()
    more = [report("a", n, 1.0, stats(Op.GET, 7 + n, 200 + n), stage=2) for n in range(4, 12)]
    said: list[Document] = []
    copy = root / "sai3-killed"
    for number, item in enumerate((*every, *more)):
        writer.write(item, tally.apply(item))
        writer.flush()
        if number == len(every):
            writer.checkpoint()
        if number >= len(every) + len(more) - 3:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(writer.directory, copy)
            document, damage = shown(copy, capsys)
            assert damage == []
            said.append(document)
    writer.close()
    return copy, said


def killed_and_damaged(root: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    directory, said = killed(root, capsys)
    name = rng.choice((*READ, "metrics.zst", "metrics.zst", "events.jsonl"))
    rng.choice((cut, flip))(directory / name, rng)
    now, damage = shown(directory, capsys)
    assert damage or now in said[-2:]
    if now and damage:
        told_everywhere(directory, damage, directory, capsys)


@pytest.mark.parametrize("seed", range(8))
def test_damage_of_what_a_killed_controller_leaves_is_said(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_and_damaged(tmp_path, seed, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 700))
def test_all_kinds_of_damage_of_what_a_killed_controller_leaves_are_said(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_and_damaged(tmp_path, seed, capsys)


def test_half_a_last_second_is_no_damage_and_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, said = killed(tmp_path, capsys)
    for name, half in (("events.jsonl", b'{"time": "2023-11'), ("metrics.zst", b"\x00"), ("perf_log.tsv", b"contr")):
        with (directory / name).open("ab") as file:
            file.write(half)
    document, damage = shown(directory, capsys)
    assert (document, damage) == (said[-1], [])
    assert main(["results", "export", str(directory)]) == 0
    assert "warning: the run log breaks off at 2023-11-14T22:13:32.000Z" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_refused_or_said(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path, seed, capsys, all_commands=seed < 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 700))
def test_all_kinds_of_damage_are_refused_or_said(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path, seed, capsys, all_commands=True)


def test_a_damaged_run_is_played_with_a_notice(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    assert load_replay(directory).last.notices == ()
    data = bytearray((directory / "metrics.zst").read_bytes())
    data[-1] ^= 1
    (directory / "metrics.zst").write_bytes(data)
    (notice,) = load_replay(directory).last.notices
    assert notice.startswith("the run log is damaged: metrics.zst is damaged")


def test_what_is_no_run_is_refused_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, _, _ = written(tmp_path / "runs", Outcome("success", 0))
    file = tmp_path / "a.txt"
    file.write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (tmp_path / "nothing", file, empty, whole / "config.yaml"):
        for words in (
            ("show", str(path)),
            ("compare", str(whole), str(path)),
            ("compare", str(path), str(whole)),
            ("report", str(path)),
            ("export", str(path), "--format", "csv"),
        ):
            assert main(["results", *words]) != 0
            said = capsys.readouterr()
            assert str(path) in said.err
            assert "Traceback" not in said.err
    assert not list(empty.iterdir())
