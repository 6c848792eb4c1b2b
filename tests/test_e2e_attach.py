"""Detaching, attaching and resuming as processes: what a person types, signals and all."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sai3tui.access import Role
from sai3tui.certificates import issue, make_authority
from tests.e2e import ended, started
from tests.leaks import files_with, processes_with
from tests.test_controller_attach import check_whole, two_agents
from tests.waiting import gone, wait_until


def begun(results: Path) -> Path | None:
    """The results directory of a run whose execute stage has begun."""
    for directory in results.glob("sai3-*"):
        events = directory / "events.jsonl"
        if events.exists() and '"type": "StageBegan"' in events.read_text() and "execute" in events.read_text():
            return directory
    return None


def at_work(directory: Path) -> bool:
    """Whether a stage has begun."""
    events = directory / "events.jsonl"
    return events.exists() and '"type": "StageStarted"' in events.read_text()


def over(directory: Path) -> bool:
    return json.loads((directory / "metadata.json").read_text())["exit_code"] is not None


def controllers_of(directory: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(directory) in (p.info["cmdline"] or [])]


def access(directory: Path) -> tuple[list[str], list[str], str]:
    """Options of agents that ask for a certificate and a token, and of a controller that has both; the token."""
    token = secrets.token_urlsafe(32)
    (directory / "token").write_text(token)
    (directory / "token").chmod(0o600)
    make_authority(directory / "ca")
    issue(directory / "ca", directory / "agents", Role.AGENT, ["127.0.0.1"])
    issue(directory / "ca", directory / "controllers", Role.CONTROLLER)
    both = ["--token-file", str(directory / "token"), "--certs"]
    return [*both, str(directory / "agents")], [*both, str(directory / "controllers")], token


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_run_outlives_its_terminal_and_its_controller(tmp_path: Path, number: signal.Signals) -> None:
    """Also where agents ask for both a certificate and a token, which stay secret: whoever goes on has them too."""
    results = tmp_path / "results"
    agents, ours, token = access(tmp_path)
    with two_agents(tmp_path, *agents) as (text, _):
        config = tmp_path / "tiny.yaml"
        config.write_bytes(text)
        with started(["--batch", str(config), "--results", str(results), *ours]) as process:
            assert wait_until(lambda: begun(results) is not None, 60)
            directory = begun(results)
            assert directory is not None
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        if number == signal.SIGHUP:
            assert process.returncode == 0, err
            assert f"sai3tui attach --take-over {directory}" in err
            background = controllers_of(directory)
            assert processes_with(token) == []
            assert wait_until(lambda: over(directory), 60), (directory / "controller.log").read_text()
            assert wait_until(lambda: all(gone(p.pid) for p in background), 30)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "sai3tui", "attach", "--json", str(directory), *ours],
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.splitlines()[-1])["status"] == "success"
        check_whole(directory)
        assert len(list(results.iterdir())) == 1
    assert files_with(token.encode(), tmp_path, Path(os.environ["XDG_DATA_HOME"])) == [tmp_path / "token"]


@pytest.mark.slow
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
        before = set(results.iterdir())
        with started(["resume", "--json", str(directory)]) as process:
            # What has not begun a stage has nothing to go on with.
            assert wait_until(lambda: any(at_work(each) for each in set(results.iterdir()) - before), 60)
            process.send_signal(signal.SIGINT)
            resumed = ended(process)
        assert resumed.code == 130
        assert resumed.result["resume"] == f"sai3tui resume {directory}"
        assert Path(resumed.result["results"]).name.endswith("-tiny")


@pytest.mark.slow
def test_a_controller_without_a_screen_that_is_displaced_says_by_whom_and_ends_in_order(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with two_agents(tmp_path, seconds=30) as (text, _):
        config = tmp_path / "tiny.yaml"
        config.write_bytes(text)
        with started(["--batch", str(config), "--json", "--results", str(results)]) as process:
            assert wait_until(lambda: begun(results) is not None, 60)
            directory = begun(results)
            assert directory is not None
            with started(["attach", "--abort", "--json", str(directory)]) as other:
                left, aborted = ended(process), ended(other)
        assert (left.code, left.result["status"], left.result["failure"]) == (0, "detached", None)
        (said,) = [line for line in left.stderr.splitlines() if "leads this run since" in line]
        assert f", pid {other.pid} leads this run since " in said
        assert said.endswith(f"; to watch it: sai3tui attach --view {directory}")
        assert (aborted.code, aborted.result["results"]) == (130, str(directory))
