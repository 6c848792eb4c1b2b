"""Detaching, attaching and resuming as processes: what a person types, signals and all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e import ended, started
from tests.test_controller_attach import check_whole, two_agents
from tests.waiting import gone, wait_until


def begun(results: Path) -> Path | None:
    """The results directory of a run whose execute stage has begun."""
    for directory in results.glob("sai3-*"):
        events = directory / "events.jsonl"
        if events.exists() and '"type": "StageBegan"' in events.read_text() and "execute" in events.read_text():
            return directory
    return None


def over(directory: Path) -> bool:
    return json.loads((directory / "metadata.json").read_text())["exit_code"] is not None


def controllers_of(directory: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(directory) in (p.info["cmdline"] or [])]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_run_outlives_its_terminal_and_its_controller(tmp_path: Path, number: signal.Signals) -> None:
    results = tmp_path / "results"
    with two_agents(tmp_path) as (text, _):
        config = tmp_path / "tiny.yaml"
        config.write_bytes(text)
        with started(["--batch", str(config), "--results", str(results)]) as process:
            assert wait_until(lambda: begun(results) is not None, 60)
            directory = begun(results)
            assert directory is not None
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        if number == signal.SIGHUP:
            assert process.returncode == 0, err
            assert f"sai3tui attach --take-over {directory}" in err
            background = controllers_of(directory)
            assert wait_until(lambda: over(directory), 60), (directory / "controller.log").read_text()
            assert wait_until(lambda: all(gone(p.pid) for p in background), 30)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "sai3tui", "attach", "--json", str(directory)],
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.splitlines()[-1])["status"] == "success"
        check_whole(directory)
        assert len(list(results.iterdir())) == 1


def test_a_run_that_nobody_leads_is_refused_by_name_and_can_be_ended(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with two_agents(tmp_path, seconds=30) as (text, agents):
        config = tmp_path / "tiny.yaml"
        config.write_bytes(text)
        arguments = ["--batch", str(config), "--json", "--results", str(results)]
        with started(arguments) as process:
            assert wait_until(lambda: begun(results) is not None, 60)
        directory = begun(results)
        assert directory is not None
        with started(arguments) as process:
            refused = ended(process)
        assert refused.code == 1
        assert "no controller leads that run" in refused.stderr
        with started(["attach", "--abort", "--json", agents[0].address, "--results", str(results)]) as process:
            aborted = ended(process)
        assert (aborted.code, aborted.result["status"]) == (130, "aborted")
        assert aborted.stage("prepare")["ops"] == 200
        with started(["resume", "--json", str(directory)]) as process:
            assert wait_until(lambda: len(list(results.iterdir())) == 3, 60)
            process.send_signal(signal.SIGINT)
            resumed = ended(process)
        assert resumed.code == 130
