"""End-to-end tests run the product as a user does: agents and the front are processes, the storage is a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sai3tui.access import TOKEN_VARIABLE
from sai3tui.local_agents import LocalAgents
from tests.servers import ServerUnderTest

SEED_CONFIG = Path(__file__).parent / "data" / "configs" / "s3_single_node.yaml"
SEED_ENDPOINTS = ("10.9.0.21", "10.9.0.25")
SEED_AGENT = "172.21.4.10:7761"
SEED_BUCKET = "sai3-bucket1"
RUN_TIMEOUT_S = 90.0


def scaled_seed_config(
    server: ServerUnderTest,
    bucket: str,
    agent: str,
    *,
    files_per_dir: int = 10,
    duration: str = "3s",
    cleanup: bool = False,
) -> str:
    """`s3_single_node.yaml` on loopback: two levels of 8 directories, about 64 KiB an object, else as it is."""
    changes = {
        SEED_BUCKET: bucket,
        SEED_AGENT: agent,
        SEED_ENDPOINTS[0]: server.host_ports[0],
        SEED_ENDPOINTS[1]: server.host_ports[1],
        "depth: 3": "depth: 2",
        "files_per_dir: 125": f"files_per_dir: {files_per_dir}",
        "mean: 8MiB": "mean: 64KiB",
        "std_dev: 1MiB": "std_dev: 8KiB",
        "min: 1MiB": "min: 8KiB",
        "max: 16MiB": "max: 128KiB",
        "30s": duration,
    }
    text = SEED_CONFIG.read_text()
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in {SEED_CONFIG.name}"
        text = text.replace(old, new)
    if cleanup:
        last = next(line for line in text.splitlines() if "order: 3" in line)
        text = text.replace(last, f"{last}\n    - {{name: cleanup, order: 4, type: cleanup, completion: tasks_done}}")
    server.make_directories(bucket, text)
    return text


@dataclass(frozen=True, slots=True)
class Done:
    """A batch run that has ended."""

    code: int
    lines: tuple[dict[str, Any], ...]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The last JSON line."""
        assert self.lines, f"no JSON on stdout; stderr: {self.stderr}"
        assert self.lines[-1]["type"] == "result"
        return self.lines[-1]

    @property
    def directory(self) -> Path:
        """The results directory."""
        return Path(self.result["results"])

    def stage(self, name: str) -> dict[str, Any]:
        return next(stage for stage in self.result["stages"] if stage["name"] == name)


def environment(server: ServerUnderTest, **changes: str) -> dict[str, str]:
    """This process's environment without its own AWS_* variables, with the server's keys and `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {name: value for name, value in server.environ().items() if name != "AWS_ENDPOINT_URL"}
    return kept | keys | changes


def commanding(agents: LocalAgents, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """`environ` (None: this process's) of a front that may give these agents orders."""
    return {**(os.environ if environ is None else environ), TOKEN_VARIABLE: agents.access.token}


@contextmanager
def started(
    arguments: Sequence[str], *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`sai3tui ARGUMENTS` with its output in pipes; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sai3tui", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=None if environ is None else dict(environ),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str], timeout_s: float = RUN_TIMEOUT_S) -> Done:
    """Wait for a `--batch --json` process."""
    out, err = process.communicate(timeout=timeout_s)
    return Done(process.returncode, tuple(json.loads(line) for line in out.splitlines()), err)


def run_batch(config: Path, *options: str, environ: Mapping[str, str] | None = None) -> Done:
    """`sai3tui --batch CONFIG --json` with results beside the configuration."""
    arguments = ["--batch", str(config), "--json", "--results", str(config.parent), *options]
    with started(arguments, environ=environ) as process:
        return ended(process)
