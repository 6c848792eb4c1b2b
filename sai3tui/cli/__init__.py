"""The command line: which front starts, and with which exit code it ends.

Everything that is slow to import is imported by the command that needs it: `validate` starts in a tenth of a second.
A family of commands is a module: what each takes, and whom it calls.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sai3tui.cli.configs import add_convert, add_plan, add_schema, add_validate
from sai3tui.cli.hosts import add_agent, add_bench_engine, add_cache, add_certs
from sai3tui.cli.options import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Command, Parser, add_verbose
from sai3tui.cli.results import add_oplog, add_results_command
from sai3tui.cli.runs import add_attach, add_demo, add_front, add_preflight, add_resume, add_serve
from sai3tui.errors import ErrorKind, Failure, Sai3Error, printable

DESCRIPTION = """\
Measure object and file storage from many hosts at once.

  sai3tui                    the control room, on its home screen
  sai3tui CONFIG             the control room with a configuration
  sai3tui --batch CONFIG     the same run without a screen
  sai3tui COMMAND ...        one of the commands below; each has its own --help
"""

EPILOG = """\
exit codes:
  0    success, or detached: the run goes on without this controller
  1    the run failed
  2    wrong usage or an invalid configuration
  3    preflight failed
  4    a threshold was not met
  5    data corruption: what was read is not what was written
  6    incomplete coverage: an agent was lost and the run went on
  129  stopped by SIGHUP
  130  stopped by SIGINT, or aborted in the control room
  143  stopped by SIGTERM
"""


class _Definition(NamedTuple):
    does: str
    add: Callable[[argparse.ArgumentParser], None]
    """Gives a parser the command's arguments, and its `command` default: the function that does it."""


COMMANDS = {
    "demo": _Definition("start a storage server and agents on this host and run a short test against them", add_demo),
    "agent": _Definition("run an agent, which creates load when a controller tells it to", add_agent),
    "validate": _Definition("check configuration files and report every problem with its position", add_validate),
    "plan": _Definition("show what a configuration would do, without contacting anything", add_plan),
    "preflight": _Definition("check agents and storage for a configuration, without running it", add_preflight),
    "convert": _Definition(
        "rewrite configuration files of older forms into the current one, keeping comments", add_convert
    ),
    "schema": _Definition("print the JSON Schema of configuration files, for editors", add_schema),
    "results": _Definition("list finished runs, show one, compare some, report or export", add_results_command),
    "cache": _Definition("show, verify or drop what is on record on this host about objects", add_cache),
    "attach": _Definition("come back to a run in progress, watch it, or take it over", add_attach),
    "resume": _Definition(
        "run a configuration of an earlier run again, going on where its prepare stopped", add_resume
    ),
    "certs": _Definition("make a private CA, and certificates for agents and controllers", add_certs),
    "oplog": _Definition("sort and merge logs of every operation, or show their figures", add_oplog),
    "serve": _Definition("show the control room in a browser, on this host unless told otherwise", add_serve),
    "bench-engine": _Definition(
        "measure what this host can create at most, against a server that does nothing", add_bench_engine
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: sys.argv) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parse(arguments)
    command: Command = options.command
    try:
        return command(options)
    except Sai3Error as error:
        return _report(error.failure(), error, verbose=options.verbose)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): nothing can be told to them any more.
        from sai3tui.batch_output import discard

        for stream in (sys.stdout, sys.stderr):
            discard(stream)
        return 128 + signal.SIGPIPE


def _report(failure: Failure, error: BaseException, *, verbose: bool) -> int:
    lines = [f"sai3tui: {failure.message}"]
    lines += [f"  because: {cause}" for cause in failure.causes]
    lines.append(f"  hint: {failure.what_next}")
    sys.stderr.write(printable("\n".join(lines), lines=True) + "\n")
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    return EXIT_USAGE if failure.kind in (ErrorKind.CONFIG, ErrorKind.RESOLVE) else EXIT_FAILED


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line. The first word decides: a command's name, or else a configuration file.

    `command` among them is the function that does what is asked.
    """
    first = next((word for word in arguments if not word.startswith("-")), "")
    flags_before = arguments[: arguments.index(first)] if first else arguments
    if first in COMMANDS and all(flag in ("-v", "--verbose") for flag in flags_before):
        parser = _command_parser(first)
        return parser.parse_args([*flags_before, *arguments[len(flags_before) + 1 :]])
    return _front_parser().parse_args(arguments)


def _front_parser() -> argparse.ArgumentParser:
    commands = "".join(f"  {name:<13}{command.does}\n" for name, command in COMMANDS.items())
    parser = Parser(
        prog="sai3tui",
        usage="sai3tui [-h] [--version] [--batch] [options] [CONFIG]\n       sai3tui COMMAND ...",
        description=f"{DESCRIPTION}\ncommands:\n{commands}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="print the version and exit")
    add_front(parser)
    add_verbose(parser)
    return parser


def _command_parser(name: str) -> argparse.ArgumentParser:
    command = COMMANDS[name]
    parser = Parser(prog=f"sai3tui {name}", description=f"{command.does.capitalize()}.", allow_abbrev=False)
    add_verbose(parser)
    command.add(parser)
    return parser


class _VersionAction(argparse.Action):
    """Looks the version up only when asked: importlib.metadata is slow."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"sai3tui {version('sai3tui')}\n")
        parser.exit(EXIT_OK)
