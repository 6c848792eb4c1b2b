"""Commands that start a run or come back to one: the control room, --batch, demo, preflight, attach, resume, serve."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sai3tui.cli.options import (
    access,
    add_access,
    add_agents,
    add_forwarding,
    add_json,
    add_results,
    add_stage_choice,
    log_to_stderr,
    usage,
    whole_number,
)

_JSON_LINES = "with --batch: JSON lines on stdout and nothing else"


def add_baseline(parser: argparse.ArgumentParser, help: str = "a results directory to compare the run with") -> None:
    parser.add_argument("--baseline", metavar="RUN", type=Path, help=help)


def add_front(parser: argparse.ArgumentParser) -> None:
    """The options of `sai3tui [--batch] [CONFIG]`."""
    parser.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="a YAML file that describes the run")
    parser.add_argument("--batch", action="store_true", help="run without a screen")
    add_json(parser, _JSON_LINES)
    add_results(parser)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of this layout has created")
    parser.add_argument("--no-preflight", action="store_true", help="do not check first; the results will say so")
    add_agents(parser)
    parser.add_argument("--ascii", action="store_true", help="charts for fonts without braille and block characters")
    add_baseline(parser)
    parser.add_argument("--junit", metavar="FILE", type=Path, help="with --batch: write JUnit XML for a build server")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="with --batch: write a summary in markdown")
    parser.add_argument("--adopt", action="store_true", help="take over prefixes of other layouts, or of nobody")
    add_access(parser)
    add_forwarding(parser)
    add_stage_choice(parser)
    parser.set_defaults(command=_front)


def _front(options: argparse.Namespace) -> int:
    if not options.batch:
        for name in ("json", "fresh", "adopt", "no_preflight", "junit", "summary"):
            if getattr(options, name):
                return usage(f"--{name.replace('_', '-')} works with --batch only")
        return _control_room(options)
    if options.config is None:
        return usage("--batch needs a CONFIG")
    from sai3tui.batch import BatchOptions, run_batch
    from sai3tui.config.stage_choice import StageChoice

    log_to_stderr(verbose=options.verbose)
    return run_batch(
        BatchOptions(
            config=options.config,
            json=options.json,
            results=options.results,
            adopt=options.adopt,
            fresh=options.fresh,
            preflight=not options.no_preflight,
            agents=options.agents,
            only=StageChoice(options.only),
            verbose=options.verbose,
            junit=options.junit,
            baseline=options.baseline,
            summary=options.summary,
            access=access(options),
        )
    )


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _control_room(options: argparse.Namespace) -> int:
    from sai3tui.terminal import is_served

    if not is_served() and not _on_a_terminal():
        return usage("the control room needs a terminal on stdin, stdout and stderr; use --batch CONFIG without one")
    from sai3tui.config.stage_choice import StageChoice
    from sai3tui.control_room import AppOptions, run_app

    return run_app(
        AppOptions(
            config=options.config,
            results=options.results,
            agents=options.agents,
            only=StageChoice(options.only),
            verbose=options.verbose,
            access=access(options),
            baseline=options.baseline,
            plain_charts=options.ascii,
        )
    )


def add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="a YAML file that describes the run")
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", type=whole_number("port", 65_535), default=8642, help="default: 8642")
    parser.add_argument("--allow-remote", dest="remote", action="store_true", help="let --host be no loopback address")
    add_results(parser)
    parser.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    from sai3tui.serve_command import ServeOptions, is_loopback, run_serve

    if not options.remote and not is_loopback(options.host):
        return usage("whoever reaches the control room commands the agents: add --allow-remote to serve others")
    arguments = [str(options.config)] if options.config else []
    if options.results:
        arguments += ["--results", str(options.results)]
    return run_serve(ServeOptions(options.host, options.port, options.remote, arguments))


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", action="store_true", help="run without a screen")
    parser.add_argument(
        "--agents",
        metavar="N",
        type=whole_number("number", 64),
        default=2,
        help="local agents to start (default: 2)",
    )
    parser.add_argument("--file", action="store_true", help="test a temporary directory instead of an S3 server")
    add_results(parser, "where the results directory is made")
    add_json(parser, _JSON_LINES)
    parser.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from sai3tui.demo import DemoOptions, run_demo

    log_to_stderr(verbose=options.verbose)
    return run_demo(
        DemoOptions(
            batch=options.batch or options.json,
            agents=options.agents,
            file=options.file,
            results=options.results,
            json=options.json,
            verbose=options.verbose,
        )
    )


def add_preflight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path)
    add_json(parser)
    add_agents(parser)
    parser.add_argument("--no-rate", dest="rate", action="store_false", help="do not measure")
    add_stage_choice(parser)
    add_access(parser)
    add_forwarding(parser)
    parser.set_defaults(command=_preflight)


def _preflight(options: argparse.Namespace) -> int:
    from sai3tui.batch import BatchOptions, run_preflight
    from sai3tui.config.stage_choice import StageChoice

    log_to_stderr(verbose=options.verbose)
    return run_preflight(
        BatchOptions(
            config=options.config,
            json=options.json,
            results=None,
            fresh=False,
            preflight=True,
            agents=options.agents,
            only=StageChoice(options.only),
            verbose=options.verbose,
            access=access(options),
            measure_rate=options.rate,
        )
    )


def add_attach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        metavar="AGENT:PORT|RESULTS",
        nargs="*",
        help="agents of the run, or its results directory (default: the one run below --results that goes on)",
    )
    parser.add_argument("--batch", action="store_true", help="without a screen")
    add_json(parser, _JSON_LINES)
    parser.add_argument("--view", action="store_true", help="watch only; another controller leads the run")
    parser.add_argument("--take-over", action="store_true", help="lead the run even while another controller does")
    parser.add_argument("--abort", action="store_true", help="end the run; implies --batch and --take-over")
    add_results(parser, "where a results directory is made")
    add_baseline(parser, "what the run is compared with, if that is not where it was")
    add_access(parser)
    parser.set_defaults(command=_attach)


def _attach(options: argparse.Namespace) -> int:
    from sai3tui.controller.request import AttachOrder

    if options.view and (options.take_over or options.abort):
        return usage("--view only watches; it cannot be combined with --take-over or --abort")
    targets = tuple(options.targets)
    if not targets:
        from sai3tui.errors import ConfigError
        from sai3tui.handover import run_below

        try:
            targets = (str(run_below(options.results or Path())),)
        except ConfigError as error:
            return usage(error.message)
    order = AttachOrder(targets, options.view, options.take_over or options.abort)
    if not (options.batch or options.abort or options.json):
        if not _on_a_terminal():
            return usage("the control room needs a terminal on stdin, stdout and stderr; use attach --batch without")
        from sai3tui.control_room import AppOptions, run_app

        return run_app(
            AppOptions(
                results=options.results,
                verbose=options.verbose,
                access=access(options),
                baseline=options.baseline,
                attach=order,
            )
        )
    from sai3tui.batch import BatchOptions, run_batch

    log_to_stderr(verbose=options.verbose)
    return run_batch(
        BatchOptions(
            Path(),
            json=options.json,
            results=options.results,
            verbose=options.verbose,
            access=access(options),
            baseline=options.baseline,
            attach=order,
            abort=options.abort,
        )
    )


def add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RESULTS", type=Path, help="the results directory of the earlier run")
    add_json(parser, "JSON lines on stdout and nothing else")
    add_baseline(parser)
    add_access(parser)
    add_stage_choice(parser)
    parser.set_defaults(command=_resume)


def _resume(options: argparse.Namespace) -> int:
    from sai3tui.batch import BatchOptions, run_batch
    from sai3tui.config.stage_choice import StageChoice
    from sai3tui.results.reader import run_again

    again = run_again(options.directory)
    log_to_stderr(verbose=options.verbose)
    return run_batch(
        BatchOptions(
            config=again.config,
            json=options.json,
            results=options.directory.parent,
            agents=again.agents_override,
            only=StageChoice(options.only or again.only),
            verbose=options.verbose,
            access=access(options),
            baseline=options.baseline,
            resumed=options.directory,
            name=again.name,
        )
    )
