"""What `deploy/` hands out fits what the command line takes."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sai3tui.agent.main import AgentOptions
from sai3tui.agent.service import SHUTDOWN_S
from sai3tui.cli import main

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = DEPLOY / "sai3tui-agent.service"


def taken(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> AgentOptions:
    """What the agent would be started with."""
    seen: list[AgentOptions] = []

    def run_agent(options: AgentOptions) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr("sai3tui.agent.main.run_agent", run_agent)
    assert main(arguments) == 0
    (options,) = seen
    return options


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return unit["Service"]


def test_the_unit_starts_an_agent_that_lets_nobody_in_without_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(service()["ExecStart"])
    assert program.endswith("/sai3tui")
    options = taken(arguments, monkeypatch)
    assert (options.certs, options.data_dir) == (Path("%d"), Path("%S/sai3tui"))
    assert (options.insecure, options.allow_custom, options.allow_path) == (False, False, ())
    files = set(re.findall(r"LoadCredential=([^:]+):", UNIT.read_text()))
    assert files == {"ca.crt", "agent.crt", "agent.key"}
    assert service()["DynamicUser"] == service()["NoNewPrivileges"] == "yes"
    assert int(service()["TimeoutStopSec"]) > SHUTDOWN_S


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/sai3tui/bin/sai3tui", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_starts_an_agent_as_a_normal_user(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    said = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
    assert json.loads(said["ENTRYPOINT"]) == ["/opt/sai3tui/bin/sai3tui"]
    options = taken(json.loads(said["CMD"]), monkeypatch)
    assert (options.listen, options.certs, options.data_dir) == ("0.0.0.0:7167", Path("/certs"), Path("/data"))
    assert (options.insecure, options.allow_custom) == (False, False)
    assert lines.index(f"USER {said['USER']}") < next(
        n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )
    assert said["USER"] != "root"
