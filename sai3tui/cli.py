"""The command line: which front starts, and with which exit code it ends.

Everything that is slow to import is imported by the command that needs it: `validate` starts in a tenth of a second.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sai3tui.errors import ErrorKind, Failure, Sai3Error, printable

if TYPE_CHECKING:
    from sai3tui.access import Access

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

DEFAULT_LISTEN = "127.0.0.1:7167"

DESCRIPTION = """\
Measure object and file storage from many hosts at once.

  sai3tui                    the control room, on its home screen
  sai3tui CONFIG             the control room with a configuration
  sai3tui --batch CONFIG     the same run without a screen
  sai3tui COMMAND ...        one of the commands below; each has its own --help
"""

EPILOG = """\
exit codes:
  0    success
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

COMMANDS = {
    "demo": "start a storage server and agents on this host and run a short test against them",
    "agent": "run an agent, which creates load when a controller tells it to",
    "validate": "check configuration files and report every problem with its position",
    "plan": "show what a configuration would do, without contacting anything",
    "preflight": "check agents and storage for a configuration, without running it",
    "convert": "rewrite configuration files of older forms into the current one, keeping comments",
    "schema": "print the JSON Schema of configuration files, for editors",
    "results": "list finished runs, show one, compare some, report or export",
    "cache": "show, verify or drop what is on record on this host about objects",
    "attach": "come back to a run in progress, watch it, or take it over",
    "resume": "run a configuration of an earlier run again, going on where its prepare stopped",
    "certs": "make a private CA, and certificates for agents and controllers",
    "oplog": "sort and merge logs of every operation, or show their figures",
    "serve": "show the control room in a browser, on this host unless told otherwise",
    "bench-engine": "measure what this host can create at most, against a server that does nothing",
}

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sai3tui: {message}\nTry: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: sys.argv) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parse(arguments)
    command: Command = options.command
    try:
        return command(options)
    except Sai3Error as error:
        return _report(error.failure(), error, verbose=options.verbose)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): nothing can be told to them any more.
        sys.stderr.close()
        return 128 + signal.SIGPIPE


def _report(failure: Failure, error: BaseException, *, verbose: bool) -> int:
    lines = [f"sai3tui: {failure.message}"]
    lines += [f"  because: {cause}" for cause in failure.causes]
    if failure.hint:
        lines.append(f"  hint: {failure.hint}")
    sys.stderr.write(printable("\n".join(lines), lines=True) + "\n")
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    return EXIT_USAGE if failure.kind in (ErrorKind.CONFIG, ErrorKind.RESOLVE) else EXIT_FAILED


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line. The first word decides: a command's name, or else a configuration file."""
    commands = _command_parser()
    front = _front_parser()
    first = next((word for word in arguments if not word.startswith("-")), "")
    flags_before = arguments[: arguments.index(first)] if first else arguments
    if first in COMMANDS and all(flag in ("-v", "--verbose") for flag in flags_before):
        return commands.parse_args([first, *flags_before, *arguments[len(flags_before) + 1 :]])
    return front.parse_args(arguments)


def _front_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sai3tui",
        usage="sai3tui [-h] [--version] [--batch] [options] [CONFIG]\n       sai3tui COMMAND ...",
        description=DESCRIPTION + "\ncommands:\n" + "".join(f"  {name:<13}{text}\n" for name, text in COMMANDS.items()),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_version(parser)
    parser.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="a YAML file that describes the run")
    parser.add_argument("--batch", action="store_true", help="run without a screen")
    parser.add_argument("--json", action="store_true", help="with --batch: JSON lines on stdout and nothing else")
    parser.add_argument("--results", metavar="DIR", type=Path, help="where results directories are made (default: .)")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of this layout has created")
    parser.add_argument("--no-preflight", action="store_true", help="do not check first; the results will say so")
    parser.add_argument("--agents", metavar="A,B", type=_addresses, default=(), help="agents instead of the file's")
    parser.add_argument("--ascii", action="store_true", help="charts for fonts without braille and block characters")
    parser.add_argument("--baseline", metavar="RUN", type=Path, help="a results directory to compare the run with")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="with --batch: write JUnit XML for a build server")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="with --batch: write a summary in markdown")
    _add_access(parser)
    _add_forwarding(parser)
    _add_stage_choice(parser)
    _add_verbose(parser)
    parser.set_defaults(command=_front)
    return parser


def _command_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sai3tui", allow_abbrev=False)
    add = parser.add_subparsers(dest="name", required=True, parser_class=_Parser).add_parser

    def command(name: str, function: Command) -> argparse.ArgumentParser:
        sub = add(name, description=COMMANDS[name].capitalize() + ".", allow_abbrev=False)
        _add_verbose(sub)
        sub.set_defaults(command=function)
        return sub

    demo = command("demo", _demo)
    demo.add_argument("--batch", action="store_true", help="run without a screen")
    demo.add_argument("--agents", metavar="N", type=_positive, default=2, help="local agents to start (default: 2)")
    demo.add_argument("--file", action="store_true", help="test a temporary directory instead of an S3 server")
    demo.add_argument("--results", metavar="DIR", type=Path, help="where the results directory is made (default: .)")
    demo.add_argument("--json", action="store_true", help="with --batch: JSON lines on stdout and nothing else")

    agent = command("agent", _agent)
    agent.add_argument(
        "--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, help=f"where to listen (default: {DEFAULT_LISTEN})"
    )
    agent.add_argument("--data-dir", metavar="DIR", type=Path, help="object states and spool (default: user data)")
    agent.add_argument(
        "--allow-path", metavar="DIR", type=Path, action="append", default=[], help="file:// targets may be below DIR"
    )
    agent.add_argument("--allow-custom", action="store_true", help="custom stages may run commands on this host")
    agent.add_argument(
        "--insecure", action="store_true", help="let everybody in who reaches --listen, without certificates or token"
    )
    _add_access(agent)

    validate = command("validate", _validate)
    validate.add_argument("files", metavar="FILE", nargs="+")
    validate.add_argument("--json", action="store_true", help="one JSON document on stdout")
    validate.add_argument("--strict", action="store_true", help="warnings are errors")
    validate.add_argument("--agents", metavar="A,B", type=_addresses, default=(), help="agents instead of the files'")

    plan = command("plan", _plan)
    plan.add_argument("file", metavar="FILE")
    plan.add_argument("--json", action="store_true", help="one JSON document on stdout")
    plan.add_argument("--agents", metavar="A,B", type=_addresses, default=(), help="agents instead of the file's")
    plan.add_argument("--object", metavar="I,J,...", type=_indices, default=(), help="where these objects go")
    _add_stage_choice(plan)

    results = command("results", _results_help)
    results.set_defaults(parser=results)
    of_results = results.add_subparsers(dest="what", metavar="list|show|compare|report|export", parser_class=_Parser)
    listing = of_results.add_parser("list", description="List the runs in a directory.", allow_abbrev=False)
    listing.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path(), help="default: .")
    listing.add_argument("--config", metavar="TEXT", default="", help="only of configurations with this in their name")
    listing.add_argument("--status", metavar="WORD", default="", help="only those that ended so: success, failed, ...")
    listing.add_argument("--since", metavar="DATE", type=_date, default=0, help="only from this day on (UTC)")
    listing.set_defaults(command=_results_list)
    showing = of_results.add_parser("show", description="Show one run, stage by stage.", allow_abbrev=False)
    showing.add_argument("directory", metavar="RUN", type=Path, help="a results directory")
    showing.set_defaults(command=_results_show)
    comparing = of_results.add_parser(
        "compare", description="Compare runs with the first one, stage by stage.", allow_abbrev=False
    )
    comparing.add_argument("directory", metavar="RUN", type=Path, help="the run to compare with")
    comparing.add_argument("others", metavar="RUN", nargs="+", type=Path, help="what is compared with it")
    comparing.set_defaults(command=_results_compare)
    reporting = of_results.add_parser("report", description="Write a run's HTML report.", allow_abbrev=False)
    reporting.add_argument("directory", metavar="RUN", type=Path, help="a results directory")
    reporting.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="where it goes (default: report.html in the directory)"
    )
    reporting.set_defaults(command=_results_report)
    exporting = of_results.add_parser("export", description="Write a run's figures for others.", allow_abbrev=False)
    exporting.add_argument("directory", metavar="RUN", type=Path, help="a results directory")
    exporting.add_argument(
        "--format", choices=("csv", "json", "markdown", "xlsx", "parquet"), default="csv", help="default: csv"
    )
    exporting.add_argument(
        "--table",
        choices=("stages", "agents", "intervals"),
        default="stages",
        help="rows per stage and operation, per agent, or per second (default: stages); xlsx has them all",
    )
    exporting.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="where it goes (default: stdout; xlsx, parquet: the directory)",
    )
    exporting.set_defaults(command=_results_export)
    # Suppressed, as a default would take back the -v that stood before `list`.
    for sub in (reporting, exporting):
        _add_verbose(sub, default=argparse.SUPPRESS)
    for sub in (listing, showing, comparing):
        sub.add_argument("--json", action="store_true", help="one JSON document on stdout")
        _add_verbose(sub, default=argparse.SUPPRESS)

    oplog = command("oplog", _oplog_help)
    oplog.set_defaults(parser=oplog)
    of_oplog = oplog.add_subparsers(dest="what", metavar="sort|merge|stats", parser_class=_Parser)
    sorting = of_oplog.add_parser("sort", description="Sort an op-log by start, however large it is.")
    sorting.add_argument("files", metavar="FILE", nargs=1, type=Path)
    sorting.add_argument("-o", "--output", metavar="FILE", type=Path, help="where it goes (default: in its place)")
    merging = of_oplog.add_parser("merge", description="Make one op-log, sorted by start, out of several.")
    merging.add_argument("files", metavar="FILE", nargs="+", type=Path)
    merging.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="where it goes")
    for sub in (sorting, merging):
        sub.set_defaults(command=_oplog_sort)
        _add_verbose(sub, default=argparse.SUPPRESS)
    figuring = of_oplog.add_parser("stats", description="Show rates and latencies of op-logs.")
    figuring.add_argument("files", metavar="FILE", nargs="+", type=Path)
    figuring.add_argument("--by", choices=("endpoint", "client_id"), default="", help="a row for each of these too")
    figuring.add_argument("--json", action="store_true", help="one JSON document on stdout")
    figuring.set_defaults(command=_oplog_stats)
    _add_verbose(figuring, default=argparse.SUPPRESS)

    cache = command("cache", _cache_help)
    cache.set_defaults(parser=cache)
    of_cache = cache.add_subparsers(dest="what", metavar="show|verify|drop", parser_class=_Parser)
    for name, function, text in (
        ("show", _cache_show, "Show what is on record about objects, and which of them failed."),
        ("verify", _cache_verify, "Compare a sample of what is recorded as created with the storage."),
        ("drop", _cache_drop, "Forget what is on record about a layout. Objects stay where they are."),
    ):
        sub = of_cache.add_parser(name, description=text, allow_abbrev=False)
        if name == "verify":
            sub.add_argument("layout", metavar="CONFIG", type=Path, help="the configuration that made the objects")
        else:
            sub.add_argument(
                "layout",
                metavar="LAYOUT",
                nargs="?" if name == "show" else None,
                default="",
                help="a layout hash, or the configuration that made the objects",
            )
        if name != "drop":
            sub.add_argument("--json", action="store_true", help="one JSON document on stdout")
        sub.add_argument(
            "--data-dir", metavar="DIR", type=Path, help="where to look (default: the user's data directory)"
        )
        _add_verbose(sub, default=argparse.SUPPRESS)
        sub.set_defaults(command=function)

    serving = command("serve", _serve)
    serving.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="a YAML file that describes the run")
    serving.add_argument(
        "--host", metavar="HOST", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"
    )
    serving.add_argument("--port", metavar="PORT", type=_port, default=8642, help="default: 8642")
    serving.add_argument("--allow-remote", dest="remote", action="store_true", help="let --host be no loopback address")
    serving.add_argument("--results", metavar="DIR", type=Path, help="where results directories are made (default: .)")

    bench = command("bench-engine", _bench_engine)
    bench.add_argument("--json", action="store_true", help="one JSON document on stdout")
    bench.add_argument("--seconds", metavar="S", type=float, default=0.5, help="per cell and round (default: 0.5)")
    bench.add_argument("--no-save", action="store_true", help="do not keep the result for plan and preflight")

    preflight = command("preflight", _preflight)
    preflight.add_argument("config", metavar="CONFIG", type=Path)
    preflight.add_argument("--json", action="store_true", help="one JSON document on stdout")
    preflight.add_argument("--agents", metavar="A,B", type=_addresses, default=(), help="agents instead of the file's")
    preflight.add_argument("--no-rate", dest="rate", action="store_false", help="do not measure")
    _add_stage_choice(preflight)
    _add_access(preflight)
    _add_forwarding(preflight)

    attach = command("attach", _attach)
    attach.add_argument(
        "targets", metavar="AGENT:PORT|RESULTS", nargs="+", help="agents of the run, or its results directory"
    )
    attach.add_argument("--batch", action="store_true", help="without a screen")
    attach.add_argument("--json", action="store_true", help="with --batch: JSON lines on stdout and nothing else")
    attach.add_argument("--view", action="store_true", help="watch only; another controller leads the run")
    attach.add_argument("--take-over", action="store_true", help="lead the run even while another controller does")
    attach.add_argument("--abort", action="store_true", help="end the run; implies --batch and --take-over")
    attach.add_argument("--results", metavar="DIR", type=Path, help="where a results directory is made (default: .)")
    _add_access(attach)

    resume = command("resume", _resume)
    resume.add_argument("directory", metavar="RESULTS", type=Path, help="the results directory of the earlier run")
    resume.add_argument("--json", action="store_true", help="JSON lines on stdout and nothing else")
    _add_access(resume)

    certs = command("certs", _certs_help)
    certs.set_defaults(parser=certs)
    of_certs = certs.add_subparsers(dest="what", metavar="init|agent|controller", parser_class=_Parser)
    first = of_certs.add_parser(
        "init", description="Make the private CA that signs the certificates of agents and controllers."
    )
    for_agent = of_certs.add_parser("agent", description="Make the certificates of one agent.")
    for_agent.add_argument("names", metavar="NAME", nargs="+", help="host names and addresses that it is reached by")
    for_controller = of_certs.add_parser("controller", description="Make the certificates of a controller.")
    for_controller.set_defaults(names=[])
    for sub in (first, for_agent, for_controller):
        sub.add_argument("--ca", metavar="DIR", type=Path, help="where the CA is (default: the user's configuration)")
        _add_verbose(sub, default=argparse.SUPPRESS)
        sub.set_defaults(command=_certs)
    for sub in (for_agent, for_controller):
        sub.add_argument("-o", "--output", metavar="DIR", type=Path, help="where they go (default: below the CA)")
        sub.add_argument("--days", metavar="N", type=_days, default=730, help="how long they are valid (default: 730)")

    convert = command("convert", _convert)
    convert.add_argument("files", metavar="FILE", nargs="+", type=Path)
    convert.add_argument("--dry-run", action="store_true", help="show what would change, as a diff")

    schema = command("schema", _schema)
    schema.add_argument(
        "--format",
        choices=("schema", "config", "compatibility"),
        default="schema",
        help="schema: JSON Schema; config, compatibility: the pages of the documentation (default: schema)",
    )
    return parser


def _add_stage_choice(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    for word, text in (
        ("prepare-only", "make the objects and do nothing else"),
        ("skip-prepare", "leave prepare out: the objects are there"),
        ("cleanup-only", "delete what earlier runs of this layout have made, and do nothing else"),
        ("verify", "read back what prepare has made and compare it, and do nothing else"),
    ):
        choice.add_argument(f"--{word}", dest="only", action="store_const", const=word, default="", help=text)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="print the version and exit")


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--certs", metavar="DIR", type=Path, help="certificates (default: SAI3TUI_CERTS)")
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="the token of the agents (default: what is in SAI3TUI_TOKEN)"
    )


def _add_forwarding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--forward-credentials",
        action="store_true",
        help="hand our S3 keys to agents that have none (TLS only)",
    )
    parser.add_argument("--env-file", metavar="FILE", type=Path, help="with that: more variables, as NAME=VALUE lines")


def _add_verbose(parser: argparse.ArgumentParser, default: object = False) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="show debug messages and tracebacks"
    )


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


def _addresses(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty address; write HOST:PORT,HOST:PORT")
    return parts


def _date(text: str) -> int:
    """Nanoseconds since the epoch."""
    from datetime import UTC, datetime

    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as 2026-01-31") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 3650")
    return int(text)


def _indices(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of object indices; write 0,1,63999")
    return tuple(int(part) for part in parts)


def _front(options: argparse.Namespace) -> int:
    if not options.batch:
        for name in ("json", "fresh", "no_preflight", "junit", "summary"):
            if getattr(options, name):
                return _usage(f"--{name.replace('_', '-')} works with --batch only")
        return _control_room(options)
    if options.config is None:
        return _usage("--batch needs a CONFIG")
    from sai3tui.batch import BatchOptions, run_batch
    from sai3tui.config.stage_choice import StageChoice

    _log_to_stderr(options.verbose)
    return run_batch(
        BatchOptions(
            config=options.config,
            json=options.json,
            results=options.results,
            fresh=options.fresh,
            preflight=not options.no_preflight,
            agents=options.agents,
            only=StageChoice(options.only),
            verbose=options.verbose,
            junit=options.junit,
            baseline=options.baseline,
            summary=options.summary,
            access=_access(options),
        )
    )


def _control_room(options: argparse.Namespace) -> int:
    from sai3tui.terminal import is_served

    if not is_served() and not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        return _usage("the control room needs a terminal on stdin, stdout and stderr; use --batch CONFIG without one")
    from sai3tui.app import AppOptions, run_app
    from sai3tui.config.stage_choice import StageChoice

    return run_app(
        AppOptions(
            config=options.config,
            results=options.results,
            agents=options.agents,
            only=StageChoice(options.only),
            verbose=options.verbose,
            access=_access(options),
            baseline=options.baseline,
            plain_charts=options.ascii,
        )
    )


def _serve(options: argparse.Namespace) -> int:
    from sai3tui.serve_command import ServeOptions, is_loopback, run_serve

    if not options.remote and not is_loopback(options.host):
        return _usage("whoever reaches the control room commands the agents: add --allow-remote to serve others")
    arguments = [str(options.config)] if options.config else []
    if options.results:
        arguments += ["--results", str(options.results)]
    return run_serve(ServeOptions(options.host, options.port, options.remote, arguments))


def _demo(options: argparse.Namespace) -> int:
    from sai3tui.demo import DemoOptions, run_demo

    _log_to_stderr(options.verbose)
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


def _agent(options: argparse.Namespace) -> int:
    from sai3tui.agent.main import AgentOptions, run_agent

    return run_agent(
        AgentOptions(
            listen=options.listen,
            data_dir=options.data_dir,
            allow_path=tuple(options.allow_path),
            allow_custom=options.allow_custom,
            insecure=options.insecure,
            certs=options.certs,
            token_file=options.token_file,
            verbose=options.verbose,
        )
    )


def _validate(options: argparse.Namespace) -> int:
    from sai3tui.inspect_commands import validate_files

    return validate_files(
        options.files, options.json, sys.stdout, strict=options.strict, agents_override=options.agents
    )


def _plan(options: argparse.Namespace) -> int:
    from sai3tui.config.stage_choice import StageChoice
    from sai3tui.inspect_commands import plan_file

    return plan_file(
        options.file,
        options.json,
        options.object,
        sys.stdout,
        agents_override=options.agents,
        only=StageChoice(options.only),
    )


def _convert(options: argparse.Namespace) -> int:
    from sai3tui.convert_command import convert_files

    return convert_files(options.files, sys.stdout, dry_run=options.dry_run)


def _schema(options: argparse.Namespace) -> int:
    from sai3tui.config.describe import DOCUMENTS

    sys.stdout.write(DOCUMENTS[options.format]())
    return EXIT_OK


def _results_help(options: argparse.Namespace) -> int:
    parser: argparse.ArgumentParser = options.parser
    parser.error("say what: list, show, compare, report or export")


def _oplog_help(options: argparse.Namespace) -> int:
    options.parser.error("say what to do: sort, merge or stats")
    return EXIT_USAGE


def _oplog_sort(options: argparse.Namespace) -> int:
    from sai3tui.oplog_command import sort_oplog

    return sort_oplog(options.files, options.output or options.files[0], sys.stdout, sys.stderr)


def _oplog_stats(options: argparse.Namespace) -> int:
    from sai3tui.oplog_command import oplog_stats

    return oplog_stats(options.files, options.by, options.json, sys.stdout, sys.stderr)


def _results_list(options: argparse.Namespace) -> int:
    from sai3tui.results.reader import RunFilter
    from sai3tui.results_commands import list_results

    wanted = RunFilter(options.config, options.status, options.since)
    return list_results(options.directory, options.json, sys.stdout, wanted)


def _results_show(options: argparse.Namespace) -> int:
    from sai3tui.results_commands import show_results

    return show_results(options.directory, options.json, sys.stdout)


def _results_compare(options: argparse.Namespace) -> int:
    from sai3tui.compare_command import compare_results

    return compare_results(options.directory, options.others, options.json, sys.stdout)


def _results_report(options: argparse.Namespace) -> int:
    from sai3tui.report_command import report_results

    return report_results(options.directory, options.output, sys.stdout)


def _results_export(options: argparse.Namespace) -> int:
    from sai3tui.report_command import export_results

    return export_results(options.directory, options.format, options.table, options.output, sys.stdout)


def _cache_help(options: argparse.Namespace) -> int:
    parser: argparse.ArgumentParser = options.parser
    parser.error("say what: show, verify or drop")


def _cache_root(options: argparse.Namespace) -> Path:
    from platformdirs import user_data_path

    return options.data_dir if options.data_dir is not None else user_data_path("sai3tui")


def _cache_show(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import show

    return show(_cache_root(options), options.layout, options.json, sys.stdout)


def _cache_verify(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import verify

    return verify(_cache_root(options), options.layout, options.json, sys.stdout)


def _cache_drop(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import drop

    return drop(_cache_root(options), options.layout, sys.stdout)


def _bench_engine(options: argparse.Namespace) -> int:
    from sai3tui.bench_engine import BenchOptions, run_bench_engine

    if not 0.05 <= options.seconds <= 60:
        return _usage("--seconds is a number from 0.05 to 60")
    return run_bench_engine(BenchOptions(options.seconds, json=options.json, save=not options.no_save))


def _preflight(options: argparse.Namespace) -> int:
    from sai3tui.batch import BatchOptions, run_preflight
    from sai3tui.config.stage_choice import StageChoice

    _log_to_stderr(options.verbose)
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
            access=_access(options),
            measure_rate=options.rate,
        )
    )


def _attach(options: argparse.Namespace) -> int:
    from sai3tui.controller.request import AttachOrder

    if options.view and (options.take_over or options.abort):
        return _usage("--view only watches; it cannot be combined with --take-over or --abort")
    order = AttachOrder(tuple(options.targets), options.view, options.take_over or options.abort)
    if not (options.batch or options.abort or options.json):
        if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
            return _usage("the control room needs a terminal on stdin, stdout and stderr; use attach --batch without")
        from sai3tui.app import AppOptions, run_app

        return run_app(
            AppOptions(results=options.results, verbose=options.verbose, access=_access(options), attach=order)
        )
    from sai3tui.batch import BatchOptions, run_batch

    _log_to_stderr(options.verbose)
    return run_batch(
        BatchOptions(
            Path(),
            json=options.json,
            results=options.results,
            verbose=options.verbose,
            access=_access(options),
            attach=order,
            abort=options.abort,
        )
    )


def _resume(options: argparse.Namespace) -> int:
    from sai3tui.batch import BatchOptions, run_batch
    from sai3tui.config.stage_choice import StageChoice
    from sai3tui.results.reader import run_again

    again = run_again(options.directory)
    _log_to_stderr(options.verbose)
    return run_batch(
        BatchOptions(
            config=again.config,
            json=options.json,
            results=options.directory.parent,
            agents=again.agents_override,
            only=StageChoice(again.only),
            verbose=options.verbose,
            access=_access(options),
        )
    )


def _certs_help(options: argparse.Namespace) -> int:
    parser: argparse.ArgumentParser = options.parser
    parser.error("say what: init, agent or controller")


def _certs(options: argparse.Namespace) -> int:
    from sai3tui.certs_command import issue_certificates, make_ca

    if options.what == "init":
        return make_ca(options.ca, sys.stdout)
    return issue_certificates(options.what, options.ca, options.output, options.names, options.days, sys.stdout)


def _access(options: argparse.Namespace) -> Access:
    """What the controller shows, and hands, to agents. Raises ConfigError."""
    from dataclasses import replace

    from sai3tui.access import Role, load_access
    from sai3tui.errors import ConfigError
    from sai3tui.forwarding import allowed, read_env_file

    access = load_access(Role.CONTROLLER, options.certs, options.token_file, os.environ)
    if not getattr(options, "forward_credentials", False):
        return access
    if not access.encrypts:
        raise ConfigError(
            "credentials are forwarded over an encrypted channel only",
            hint="give agents and controller certificates: sai3tui certs, --certs DIR",
        )
    from_file = read_env_file(options.env_file) if options.env_file is not None else {}
    return replace(access, forwarded=allowed({**from_file, **os.environ}))


def _usage(message: str) -> int:
    sys.stderr.write(f"sai3tui: {message}\nTry: sai3tui --help\n")
    return EXIT_USAGE


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if verbose:
        logging.getLogger("sai3tui").setLevel(logging.DEBUG)
