"""`sai3tui demo`: it works as written, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e import ended, started
from tests.waiting import gone, wait_until

FAMILY = 4
"""rclone, two agents, and the process that removes the directory; workers come on top."""


def family(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_everything_is_gone_when_the_demo_is_stopped(number: signal.Signals, code: int, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    data = tmp_path / "data"
    environ = dict(os.environ, TMPDIR=str(temporary), XDG_DATA_HOME=str(data))
    arguments = ["demo", "--batch", "--results", str(tmp_path)]
    with started(arguments, environ=environ, cwd=tmp_path) as process:
        uploads = "sai3tui-demo-*/data/demo/data/*/*/*.dat"
        wait_until(lambda: any(temporary.glob(uploads)) or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()
        assert any(temporary.glob(uploads))
        pids = family(process.pid)
        assert len(pids) >= FAMILY
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    # Its configuration and its states are gone with it: there is nothing to go on with.
    assert "to go on" not in err
    assert not any("How to go on" in status.read_text() for status in tmp_path.glob("sai3-*/STATUS.txt"))
    assert wait_until(lambda: all(gone(pid) for pid in pids), 20)
    assert wait_until(lambda: not list(temporary.iterdir()), 20), list(temporary.iterdir())
    # Nor does the next one take this one's objects for its own.
    assert not list(data.rglob("*.mdb"))


def test_the_demo_ends_in_order_while_it_starts(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with started(["demo", "--batch"], environ=dict(os.environ, TMPDIR=str(temporary)), cwd=tmp_path) as process:
        assert wait_until(lambda: any(temporary.glob("sai3tui-demo-*/rclone.log")), 30)
        pids = family(process.pid)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert wait_until(lambda: all(gone(pid) for pid in pids), 20)
    assert not list(temporary.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("storage", [[], ["--file"]], ids=["s3", "file"])
def test_the_demo_runs_to_its_end(storage: list[str], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = dict(os.environ, TMPDIR=str(temporary))
    with started(["demo", "--batch", "--json", *storage], environ=environ, cwd=tmp_path) as process:
        done = ended(process)
    # What prepare found, wrote and repeated tells whose fault it is if the server does not have an object.
    assert done.code == 0, (done.stderr, done.result["stages"])
    assert [stage["name"] for stage in done.result["stages"]] == ["preflight", "prepare", "execute", "cleanup"]
    assert done.stage("prepare")["objects"] == 400
    assert done.stage("execute")["ops"] > 0
    assert all(stage["errors"] == 0 for stage in done.result["stages"])
    assert len(list(tmp_path.glob("sai3-*-demo"))) == 1
    assert not list(temporary.iterdir())
