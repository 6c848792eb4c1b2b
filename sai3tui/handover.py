"""Hands a run over to a headless controller in the background, which outlives us and our terminal."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sai3tui.controller.attaching import find_by_directory
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.errors import ConfigError, ResourceError
from sai3tui.results.directory import is_written
from sai3tui.results.metadata import parse_metadata

LOG = "controller.log"
"""In the results directory: what the background controller prints."""
START_TIMEOUT_S = 60.0
POLL_S = 0.05


def hand_over(directory: Path, options: Sequence[str] = ()) -> int | None:
    """Start a controller that attaches to the run of this results directory, and wait until it writes there; returns
    its process id, or None if the run is over. `options` are those that it needs to be let in by the agents. Raises
    ResourceError if it does not come up in time; then it is ended."""
    hint = f"agents hold at the next barrier; `sai3tui attach {directory}` brings the run back"
    log = directory / LOG
    command = [sys.executable, "-m", "sai3tui", "attach", "--batch", str(directory.absolute()), *options]
    try:
        with log.open("ab") as sink:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise ResourceError("no controller could be started in the background", hint=hint) from error
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_written(directory):
        if process.poll() is not None:
            if is_over(directory):
                return None
            raise ResourceError(f"the controller in the background ended at once; its words are in {log}", hint=hint)
        if time.monotonic() >= deadline:
            # A signal that it can handle would have it abort the run, were it to lead it by now.
            process.kill()
            process.wait()
            what = f"the controller in the background did not come up within {START_TIMEOUT_S:g} s and was ended"
            raise ResourceError(f"{what}; its words are in {log}", hint=hint)
        time.sleep(POLL_S)
    return process.pid


def run_below(root: Path) -> Path:
    """The results directory below `root` of the one run that goes on: one that a controller writes into, else one that
    nobody leads any more and that has not ended. Raises ConfigError, which names them, if there is none or several."""
    unfinished = [path for path in sorted(root.glob("sai3-*")) if _goes_on(path)]
    led = [path for path in unfinished if is_written(path)]
    found = led or unfinished
    if len(found) == 1:
        return found[0]
    place = root.absolute()
    if not found:
        raise ConfigError(f"no run goes on below {place}: name its results directory, or an agent as HOST:PORT")
    what = f"{len(found)} runs are led from below {place}" if led else f"{len(found)} runs below {place} have not ended"
    raise ConfigError(f"{what}, name one: {', '.join(str(path) for path in found)}")


def is_over(directory: Path) -> bool:
    """Whether this is the results directory of a run that has ended."""
    try:
        return parse_metadata((directory / "metadata.json").read_bytes()).outcome is not None
    except (OSError, ValueError):
        return False


def _goes_on(directory: Path) -> bool:
    """Whether this is the results directory of a run that has not ended, as far as it says."""
    try:
        find_by_directory(directory)
    except ConfigError:
        return False
    return True


def led_words(snapshot: RunSnapshot, targets: Sequence[str] = ()) -> str:
    """One sentence for somebody who leaves a run that another controller leads or that nobody does: which one, and how
    to watch it, or to lead or end it. `targets` are those that somebody named to attach to."""
    agents = [agent.address for agent in snapshot.agents if agent.address][:1]
    where = shlex.join([snapshot.results_dir] if snapshot.results_dir else agents or targets)
    lead = snapshot.lead
    if where and lead is not None and not lead.by and lead.since_ns:
        attach = f"to lead it: sai3tui attach {where}; to end it: sai3tui attach --abort {where}"
        return f"{lead.sentence}, its agents hold at the next barrier; {attach}\n"
    who = lead.sentence if lead is not None else "the run goes on as it was"
    return f"{who}; to watch it: sai3tui attach --view {where}\n" if where else f"{who}\n"


def parting_words(directory: Path, pid: int | None) -> str:
    """What somebody needs to know who has left a run; `pid` as `hand_over` returns it."""
    where = shlex.quote(str(directory))
    if pid is None:
        return f"the run is over: sai3tui results show {where}\n"
    return (
        f"the run goes on without a screen (process {pid}), its words are in {directory / LOG}\n"
        f"  to come back: sai3tui attach --take-over {where}\n"
        f"  to watch it:  sai3tui attach --view {where}\n"
    )
