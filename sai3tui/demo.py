"""`sai3tui demo`: a storage server, agents and a short run, all on this host and all gone afterwards.

Whatever ends it (success, an error, a signal, kill -9), the processes it started end with it and its temporary
directory is removed; only the results directory stays.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sai3tui.access import Access
from sai3tui.demo_servers import S3Server
from sai3tui.errors import ResourceError
from sai3tui.local_agents import LocalAgents
from sai3tui.processes import OwnedDirectory

BUCKET = "demo"
LOG_LINES_ON_FAILURE = 5
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line said. `results`: where the results directory is made, None for the current one."""

    batch: bool = False
    agents: int = 2
    file: bool = False
    results: Path | None = None
    json: bool = False
    verbose: bool = False


def run_demo(options: DemoOptions) -> int:
    """Run the demo in the control room on a terminal, else as a batch; returns the exit code of the run.

    Raises ResourceError if the server or an agent does not come up.
    """
    with _ending_in_order(), ExitStack() as stack:
        directory = stack.enter_context(OwnedDirectory("sai3tui-demo-")).path
        server = None if options.file else stack.enter_context(S3Server.start(directory, buckets=[BUCKET]))
        environ, endpoints, allowed = _storage(server, directory)
        # The front reads the credentials from the environment like that of any other run.
        os.environ.update(environ)
        agents = stack.enter_context(
            LocalAgents.start(
                options.agents,
                directory,
                environ=dict(os.environ),
                allow_path=allowed,
                verbose=options.verbose,
            )
        )
        config = directory / "demo.yaml"
        text = fill_in(example().read_text(encoding="utf-8"), endpoints, agents.addresses)
        config.write_text(text, encoding="utf-8")
        if server is not None:
            server.make_directories(BUCKET, keys_of(text))
        code = _front(options, config, agents.access)
        if code not in (0, 129, 130, 143):
            _show_logs(agents)
        return code


def example() -> Path:
    """The demo's configuration: beside the package in a checkout, inside it when installed.

    Raises ResourceError if the installation has lost it.
    """
    package = Path(__file__).resolve().parent
    for place in (package / "examples" / "demo.yaml", package.parent / "examples" / "demo.yaml"):
        if place.is_file():
            return place
    raise ResourceError("examples/demo.yaml is not part of this installation", hint="install sai3tui again")


def fill_in(text: str, endpoints: Sequence[str], addresses: Sequence[str]) -> str:
    """The example with its lists of endpoints and agents replaced; everything else stays, comments too."""
    agents = [f'{{id: agent-{number}, address: "{address}"}}' for number, address in enumerate(addresses, 1)]
    text = _replace_list(text, "endpoints", [f'"{uri}"' for uri in endpoints])
    return _replace_list(text, "agents", agents)


def _replace_list(text: str, key: str, items: Sequence[str]) -> str:
    result: list[str] = []
    inside = False
    for line in text.splitlines():
        if inside and line.lstrip().startswith("- "):
            continue
        inside = line.strip() == f"{key}:"
        result.append(line)
        if inside:
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            result += [f"{indent}- {item}" for item in items]
    return "\n".join(result) + "\n"


def keys_of(text: str) -> Iterator[str]:
    """A key in every directory that a run of the configuration `text` makes. Raises ConfigError."""
    from sai3tui.config.resolve import load_resolved
    from sai3tui.config.resolved import OpSource
    from sai3tui.workload.objects import layout_hash, object_sets

    resolved = load_resolved(text, "demo.yaml").require()
    for objects in object_sets(resolved):
        yield from (objects.key(index) for index in range(objects.count))
    yield from (op.pattern for op in resolved.ops if op.source is OpSource.NEW)
    yield f".sai3tui/{layout_hash(resolved)}/1/"


def _storage(server: S3Server | None, directory: Path) -> tuple[Mapping[str, str], list[str], tuple[Path, ...]]:
    """What is tested: AWS_* variables for it, endpoint URIs, directories that agents need leave for."""
    if server is None:
        target = directory / "target"
        target.mkdir()
        return {}, [f"file://{target}/"], (target,)
    return server.environ(), [f"s3+http://{address}/{BUCKET}/" for address in server.host_ports], ()


def _front(options: DemoOptions, config: Path, access: Access) -> int:
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    if on_terminal and not options.batch:
        from sai3tui.control_room import AppOptions, run_app

        return run_app(
            AppOptions(
                config=config,
                results=options.results,
                start=True,
                agents=(),
                verbose=options.verbose,
                access=access,
                owned=True,
            )
        )
    from sai3tui.batch import BatchOptions, run_batch

    return run_batch(
        BatchOptions(
            config=config,
            json=options.json,
            results=options.results,
            fresh=False,
            preflight=True,
            agents=(),
            verbose=options.verbose,
            access=access,
            owned=True,
        )
    )


def _show_logs(agents: LocalAgents) -> None:
    # The logs are about to be removed with the temporary directory.
    for log in agents.logs:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_ON_FAILURE:]
        if lines:
            sys.stderr.write(f"{log.stem} logged last:\n" + "".join(f"  {line}\n" for line in lines))


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like SIGINT does. The fronts have handlers of their own while they run."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
