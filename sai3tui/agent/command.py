"""The command of a custom stage on the agent's host: what it is, and what it sees."""

from __future__ import annotations

import os
import shutil

from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import Stage
from sai3tui.errors import ResourceError

SHELL_CHARACTERS = frozenset(" \t\n;&|<>$`*?~")


def environment_of(setup: RunSetup, stage: Stage) -> dict[str, str]:
    """The agent's own; what the controller has forwarded stays in our memory."""
    own = {name: value for name, value in setup.environ.items() if name not in setup.forwarded}
    return {**own, "SAI3_RUN": setup.run_id, "SAI3_STAGE": stage.name, "SAI3_AGENT": setup.agent.id}


def command_of(setup: RunSetup, stage: Stage) -> list[str]:
    """The whole path of the command and its arguments. Raises ResourceError if there is no such command here."""
    # A path with a directory in it is seen from where the command runs, a plain name is looked for.
    place = str(setup.limits.data_dir / stage.command) if os.sep in stage.command else stage.command
    found = None if "\0" in place else shutil.which(place, path=setup.environ.get("PATH"))
    if found is None:
        raise not_started(stage)
    return [found, *stage.args]


def not_started(stage: Stage) -> ResourceError:
    """What is said of a command that is not there, or that the system refuses to start."""
    hint = "give its whole path; it runs on each agent's host"
    if SHELL_CHARACTERS.intersection(stage.command):
        hint = f"no shell reads it: write command: sh, args: [-c, {stage.command!r}]"
    return ResourceError(f"the command {stage.command!r} of stage {stage.name!r} cannot be started", hint=hint)
