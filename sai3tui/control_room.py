"""Starts the control room on a terminal, and leaves the terminal as it was."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sai3tui.access import NO_ACCESS, Access
from sai3tui.app import Sai3App
from sai3tui.config.stage_choice import StageChoice
from sai3tui.controller.request import AttachOrder
from sai3tui.errors import Sai3Error
from sai3tui.processes import collect_seldom
from sai3tui.run_keeper import EXIT_FAILED
from sai3tui.screens.arrangement import Arrangements
from sai3tui.screens.files import read_config, text_of
from sai3tui.screens.keymap import keymap_file, read_keymap
from sai3tui.screens.recent import RecentConfigs
from sai3tui.terminal import is_served, log_file, terminal_for_screen, terminal_is_gone

EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What the command line said. `start`: run `config` at once. `results`: None for the current directory;
    `baseline`: a run that those started here are compared with."""

    config: Path | None = None
    results: Path | None = None
    start: bool = False
    agents: tuple[str, ...] = ()
    only: StageChoice = StageChoice.ALL
    verbose: bool = False
    plain_charts: bool = False
    access: Access = NO_ACCESS
    baseline: Path | None = None
    attach: AttachOrder | None = None
    owned: bool = False


def run_app(options: AppOptions) -> int:
    """Run the control room until it is left; returns the exit code of its last run, or of the signal that ended it.

    Exit code 2 without a terminal, or if the configuration cannot be read.
    """
    if not is_served() and not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        sys.stderr.write(
            "sai3tui: the control room needs a terminal on stdin, stdout and stderr; use --batch CONFIG without one\n"
        )
        return EXIT_USAGE
    config = None
    if options.config is not None:
        try:
            data = read_config(options.config)
            text_of(data, options.config)
        except Sai3Error as error:
            sys.stderr.write(f"sai3tui: {error.message}\n  hint: {error.hint}\n")
            return EXIT_USAGE
        config = (options.config, data)
    try:
        keys = read_keymap(keymap_file())
    except Sai3Error as error:
        sys.stderr.write(f"sai3tui: {error.message}\n  hint: {error.hint}\n")
        return EXIT_USAGE
    log = log_file()
    with terminal_for_screen(log, verbose=options.verbose):
        # gRPC is loaded with these: only now, with descriptor 2 out of its reach.
        from sai3tui.app_services import LiveServices

        services = LiveServices(
            options.results,
            options.agents,
            options.access,
            verbose=options.verbose,
            baseline=options.baseline,
            attach=options.attach,
            owned=options.owned,
            only=options.only,
        )
        arrangements = Arrangements(log.parent / "arrangement.json")
        app = Sai3App(
            services,
            config,
            start=options.start,
            signals=True,
            arrangements=arrangements,
            recent=RecentConfigs(log.parent / "recent.json"),
            keys=keys,
            plain_charts=options.plain_charts,
        )
        collect_seldom()
        app.run()
        app.end_session()
        code = app.return_code if app.return_code is not None else EXIT_FAILED
    if app.wants_demo and not terminal_is_gone():
        # Another program on the same terminal: it has servers and agents of its own to end.
        place = ["--results", str(options.results)] if options.results is not None else []
        os.execv(sys.executable, [sys.executable, "-m", "sai3tui", "demo", *place])
    if app.parting and not terminal_is_gone():
        sys.stderr.write(app.parting)
    if not app.left_in_order:
        sys.stderr.write(f"sai3tui: the control room broke off because of a defect; what is known of it is in {log}\n")
    elif code == EXIT_FAILED and options.verbose:
        sys.stderr.write(f"sai3tui: the log is in {log}\n")
    return code
