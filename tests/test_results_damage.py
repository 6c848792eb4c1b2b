"""Results directories that are truncated, edited or foreign, given to every `sai3tui results` command: an error that
names the file, or the run's true figures, or figures with what does not fit said beside them. Never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sai3tui.cli import main
from sai3tui.results.views import Outcome
from tests.test_results_files import written

READ = ("metadata.json", "events.jsonl", "metrics.zst", "seconds.zst", "totals.zst", "config.yaml")
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


def figures(document: dict[str, object]) -> list[tuple[object, ...]]:
    stages = document["stages"]
    assert isinstance(stages, list)
    return [(stage["ops"], stage["bytes"], stage["errors"]) for stage in stages]


def tried(directory: Path, whole: Path, capsys: pytest.CaptureFixture[str], *, all_commands: bool) -> None:
    """`whole` is the run as it was, next to `directory`, which was damaged."""
    target = str(directory.parent / "out")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["results", *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert code == 0 or "hint" in said.err or str(directory) in said.err, said.err
        return code, said.out, said.err

    _, out, _ = run("show", str(whole), "--json")
    true = figures(json.loads(out))
    code, out, _ = run("show", str(directory), "--json")
    if code == 0:
        document = json.loads(out)
        if figures(document) != true:
            assert document["doubts"] or document["status"] == "unfinished"
    assert run("list", str(directory.parent))[0] == 0
    if all_commands:
        doubtful = code == 0 and bool(document["doubts"])
        for words in (
            ("show", str(directory)),
            ("compare", str(whole), str(directory)),
            ("report", str(directory), "-o", target),
            ("export", str(directory), "--format", "csv", "--table", "intervals"),
            ("export", str(directory), "--format", "xlsx", "-o", target),
        ):
            _, said, _ = run(*words)
            if doubtful and words[0] in ("show", "compare") and said:
                assert "caution: " in said


def damaged(root: Path, seed: int, capsys: pytest.CaptureFixture[str], *, all_commands: bool) -> None:
    rng = random.Random(seed)
    whole, _, _ = written(root, Outcome("success", 0))
    directory = root / "sai3-damaged"
    shutil.copytree(whole, directory)
    for name in rng.sample(READ, rng.choice((1, 1, 1, 2))):
        rng.choice(DAMAGES)(directory / name, rng)
    tried(directory, whole, capsys, all_commands=all_commands)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_refused_or_said(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path, seed, capsys, all_commands=seed < 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 700))
def test_all_kinds_of_damage_are_refused_or_said(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path, seed, capsys, all_commands=True)


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
