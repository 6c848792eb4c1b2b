"""Commands about configuration files, which contact nobody: validate, plan, convert, schema."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sai3tui.cli.options import EXIT_OK, add_agents, add_json, add_stage_choice


def add_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+")
    add_json(parser)
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    add_agents(parser, "files'")
    parser.set_defaults(command=_validate)


def _validate(options: argparse.Namespace) -> int:
    from sai3tui.inspect_commands import validate_files

    return validate_files(
        options.files, options.json, sys.stdout, strict=options.strict, agents_override=options.agents
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    add_json(parser)
    add_agents(parser)
    parser.add_argument("--object", metavar="I,J,...", type=_indices, default=(), help="where these objects go")
    add_stage_choice(parser)
    parser.set_defaults(command=_plan)


def _indices(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of object indices; write 0,1,63999")
    return tuple(int(part) for part in parts)


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


def add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="show what would change, as a diff")
    parser.set_defaults(command=_convert)


def _convert(options: argparse.Namespace) -> int:
    from sai3tui.convert_command import convert_files

    return convert_files(options.files, sys.stdout, dry_run=options.dry_run)


def add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("schema", "config", "compatibility"),
        default="schema",
        help="schema: JSON Schema; config, compatibility: the pages of the documentation (default: schema)",
    )
    parser.set_defaults(command=_schema)


def _schema(options: argparse.Namespace) -> int:
    from sai3tui.config.describe import DOCUMENTS

    sys.stdout.write(DOCUMENTS[options.format]())
    return EXIT_OK
