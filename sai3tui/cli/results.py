"""Commands about what runs have left: results directories and op-logs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sai3tui.cli.options import Parts, add_json, add_output, add_parts
from sai3tui.errors import ErrorKind, Sai3Error


def add_results_command(parser: argparse.ArgumentParser) -> None:
    add = add_parts(parser, "list, show, compare, report or export")
    listing = add("list", "List the runs in a directory.", _list)
    listing.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path(), help="default: .")
    listing.add_argument("--config", metavar="TEXT", default="", help="only of configurations with this in their name")
    listing.add_argument("--status", metavar="WORD", default="", help="only those that ended so: success, failed, ...")
    listing.add_argument("--since", metavar="DATE", type=_date, default=0, help="only from this day on (UTC)")
    add_json(listing)
    showing = add("show", "Show one run, stage by stage.", _show)
    showing.add_argument("directory", metavar="RUN", type=Path, help="a results directory")
    add_json(showing)
    comparing = add(
        "compare", "Compare runs with the first one, stage by stage, or one side of several with another.", _compare
    )
    comparing.add_argument("directory", metavar="RUN", type=Path, help="the run to compare with")
    comparing.add_argument(
        "others",
        metavar="RUN",
        nargs="*",
        type=Path,
        help="what is compared with it; before --with: more of the first side",
    )
    comparing.add_argument(
        "--with", dest="side", metavar="RUN", nargs="+", type=Path, help="the runs of the other side"
    )
    add_json(comparing)
    reporting = add("report", "Write a run's HTML report.", _report)
    reporting.add_argument("directory", metavar="RUN", type=Path, help="a results directory")
    add_output(reporting, "where it goes (default: report.html in the directory)")
    _add_export(add)


def _add_export(add: Parts) -> None:
    exporting = add("export", "Write a run's figures for others.", _export)
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
    add_output(exporting, "where it goes (default: stdout; xlsx, parquet: the directory)")


def _date(text: str) -> int:
    """Nanoseconds since the epoch."""
    from datetime import UTC, datetime

    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as 2026-01-31") from None


def _list(options: argparse.Namespace) -> int:
    from sai3tui.results.reader import RunFilter
    from sai3tui.results_commands import list_results

    wanted = RunFilter(options.config, options.status, options.since)
    return list_results(options.directory, options.json, sys.stdout, wanted)


def _show(options: argparse.Namespace) -> int:
    from sai3tui.results_commands import show_results

    return show_results(options.directory, options.json, sys.stdout)


def _compare(options: argparse.Namespace) -> int:
    from sai3tui.compare_command import compare_results

    first, others = [options.directory], [[other] for other in options.others]
    if options.side:
        first, others = [options.directory, *options.others], [options.side]
    if not others:
        raise Sai3Error("there is nothing to compare the run with", hint="name a second one", kind=ErrorKind.CONFIG)
    return compare_results(first, others, options.json, sys.stdout)


def _report(options: argparse.Namespace) -> int:
    from sai3tui.report_command import report_results

    return report_results(options.directory, options.output, sys.stdout, sys.stderr)


def _export(options: argparse.Namespace) -> int:
    from sai3tui.report_command import export_results

    return export_results(options.directory, options.format, options.table, options.output, sys.stdout, sys.stderr)


def add_oplog(parser: argparse.ArgumentParser) -> None:
    add = add_parts(parser, "sort, merge or stats")
    sorting = add("sort", "Sort an op-log by start, however large it is.", _sort)
    sorting.add_argument("files", metavar="FILE", nargs=1, type=Path)
    add_output(sorting, "where it goes (default: in its place)")
    merging = add("merge", "Make one op-log, sorted by start, out of several.", _sort)
    merging.add_argument("files", metavar="FILE", nargs="+", type=Path)
    add_output(merging, "where it goes", required=True)
    figuring = add("stats", "Show rates and latencies of op-logs.", _stats)
    figuring.add_argument("files", metavar="FILE", nargs="+", type=Path)
    figuring.add_argument("--by", choices=("endpoint", "client_id"), default="", help="a row for each of these too")
    add_json(figuring)


def _sort(options: argparse.Namespace) -> int:
    from sai3tui.oplog_command import sort_oplog

    return sort_oplog(options.files, options.output or options.files[0], sys.stdout, sys.stderr)


def _stats(options: argparse.Namespace) -> int:
    from sai3tui.oplog_command import oplog_stats

    return oplog_stats(options.files, options.by, options.json, sys.stdout, sys.stderr)
