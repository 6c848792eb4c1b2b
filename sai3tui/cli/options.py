"""What the commands' parsers share: options that several have, and how values are read from text."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sai3tui.access import Access

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Wrong usage is one message on stderr and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sai3tui: {message}\nTry: {self.prog} --help\n")


def usage(message: str) -> int:
    """Say what was wrong with the command line, and return the exit code for it."""
    sys.stderr.write(f"sai3tui: {message}\nTry: sai3tui --help\n")
    return EXIT_USAGE


def log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if verbose:
        logging.getLogger("sai3tui").setLevel(logging.DEBUG)


Parts = Callable[..., argparse.ArgumentParser]
"""Adds one of the words that may stand after a command: (word, what it does, function)."""


def add_parts(parser: argparse.ArgumentParser, words: str) -> Parts:
    """Let `parser` have a second word, one of `words`, such as "list, show or export"."""

    def say_what(options: argparse.Namespace) -> int:
        parser.error(f"say what: {words}")

    parser.set_defaults(command=say_what)
    parts = parser.add_subparsers(dest="what", metavar=words.replace(" or ", "|").replace(", ", "|"))

    def add(word: str, description: str, function: Command) -> argparse.ArgumentParser:
        does = description[0].lower() + description.rstrip(".")[1:]
        part = parts.add_parser(word, help=does, description=description, allow_abbrev=False)
        # Suppressed, as a default would take back the -v that stood before the word.
        add_verbose(part, default=argparse.SUPPRESS)
        part.set_defaults(command=function)
        return part

    return add


def add_verbose(parser: argparse.ArgumentParser, default: object = False) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="show debug messages and tracebacks"
    )


def add_json(parser: argparse.ArgumentParser, text: str = "one JSON document on stdout") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def add_results(parser: argparse.ArgumentParser, text: str = "where results directories are made") -> None:
    parser.add_argument("--results", metavar="DIR", type=Path, help=f"{text} (default: .)")


def add_agents(parser: argparse.ArgumentParser, whose: str = "file's") -> None:
    parser.add_argument("--agents", metavar="A,B", type=addresses, default=(), help=f"agents instead of the {whose}")


def add_output(parser: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=required, help=text)


def add_stage_choice(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    for word, text in (
        ("prepare-only", "make the objects and do nothing else"),
        ("skip-prepare", "leave prepare out: the objects are there"),
        ("cleanup-only", "delete what earlier runs of this layout have made, and do nothing else"),
        ("verify", "read back what prepare has made and compare it, and do nothing else"),
    ):
        choice.add_argument(f"--{word}", dest="only", action="store_const", const=word, default="", help=text)


def add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--certs", metavar="DIR", type=Path, help="certificates (default: SAI3TUI_CERTS)")
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="the token of the agents (default: what is in SAI3TUI_TOKEN)"
    )


def add_forwarding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--forward-credentials",
        action="store_true",
        help="hand our S3 keys to agents that have none (TLS only)",
    )
    parser.add_argument(
        "--env-file", metavar="FILE", type=Path, help="with that: NAME=VALUE lines, after our environment"
    )


def access(options: argparse.Namespace) -> Access:
    """What the controller shows, and hands, to agents. Raises ConfigError."""
    from dataclasses import replace

    from sai3tui.access import Role, load_access
    from sai3tui.errors import ConfigError
    from sai3tui.forwarding import allowed, read_env_file

    loaded = load_access(Role.CONTROLLER, options.certs, options.token_file, os.environ)
    from_file = getattr(options, "env_file", None)
    if not getattr(options, "forward_credentials", False):
        if from_file is not None:
            raise ConfigError("--env-file says what is to be handed to agents: add --forward-credentials")
        return loaded
    if not loaded.encrypts:
        raise ConfigError(
            "credentials are forwarded over an encrypted channel only",
            hint="give agents and controller certificates: sai3tui certs, --certs DIR",
        )
    variables = read_env_file(from_file) if from_file is not None else {}
    return replace(loaded, forwarded=allowed(os.environ, variables))


def addresses(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty address; write HOST:PORT,HOST:PORT")
    return parts


def whole_number(what: str, most: int) -> Callable[[str], int]:
    """A reader of whole numbers from 1 to `most`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} from 1 to {most}")
        return int(text)

    return read
