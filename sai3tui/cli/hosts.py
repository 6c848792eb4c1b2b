"""Commands about this host: an agent on it, what it keeps, what it can create, its certificates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sai3tui.cli.options import add_access, add_json, add_parts, usage, whole_number

DEFAULT_LISTEN = "127.0.0.1:7167"


def add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, help=f"where to listen (default: {DEFAULT_LISTEN})"
    )
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="object states and spool (default: user data)")
    parser.add_argument(
        "--allow-path", metavar="DIR", type=Path, action="append", default=[], help="file:// targets may be below DIR"
    )
    parser.add_argument("--allow-custom", action="store_true", help="custom stages may run commands on this host")
    parser.add_argument(
        "--insecure", action="store_true", help="let everybody in who reaches --listen, without certificates or token"
    )
    add_access(parser)
    parser.set_defaults(command=_agent)


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


def add_cache(parser: argparse.ArgumentParser) -> None:
    add = add_parts(parser, "show, verify or drop")
    showing = add("show", "Show what is on record about objects, and which of them failed.", _show)
    verifying = add("verify", "Compare a sample of what is recorded as created with the storage.", _verify)
    dropping = add("drop", "Forget what is on record about a layout. Objects stay where they are.", _drop)
    layout = "a layout hash, or the configuration that made the objects"
    showing.add_argument("layout", metavar="LAYOUT", nargs="?", default="", help=layout)
    verifying.add_argument("layout", metavar="CONFIG", type=Path, help="the configuration that made the objects")
    dropping.add_argument("layout", metavar="LAYOUT", help=layout)
    add_json(showing)
    add_json(verifying)
    for part in (showing, verifying, dropping):
        part.add_argument(
            "--data-dir", metavar="DIR", type=Path, help="where to look (default: the user's data directory)"
        )


def _root(options: argparse.Namespace) -> Path:
    from platformdirs import user_data_path

    return options.data_dir if options.data_dir is not None else user_data_path("sai3tui")


def _show(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import show

    return show(_root(options), options.layout, options.json, sys.stdout)


def _verify(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import verify

    return verify(_root(options), options.layout, options.json, sys.stdout)


def _drop(options: argparse.Namespace) -> int:
    from sai3tui.cache_command import drop

    return drop(_root(options), options.layout, sys.stdout)


def add_bench_engine(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.add_argument("--seconds", metavar="S", type=float, default=0.5, help="per cell and round (default: 0.5)")
    parser.add_argument("--no-save", action="store_true", help="do not keep the result for plan and preflight")
    parser.set_defaults(command=_bench_engine)


def _bench_engine(options: argparse.Namespace) -> int:
    from sai3tui.bench_engine import BenchOptions, run_bench_engine

    if not 0.05 <= options.seconds <= 60:
        return usage("--seconds is a number from 0.05 to 60")
    return run_bench_engine(BenchOptions(options.seconds, json=options.json, save=not options.no_save))


def add_certs(parser: argparse.ArgumentParser) -> None:
    add = add_parts(parser, "init, agent or controller")
    first = add("init", "Make the private CA that signs the certificates of agents and controllers.", _certs)
    for_agent = add("agent", "Make the certificates of one agent.", _certs)
    for_agent.add_argument("names", metavar="NAME", nargs="+", help="host names and addresses that it is reached by")
    for_controller = add("controller", "Make the certificates of a controller.", _certs)
    for_controller.set_defaults(names=[])
    for part in (first, for_agent, for_controller):
        part.add_argument("--ca", metavar="DIR", type=Path, help="where the CA is (default: the user's configuration)")
    for part in (for_agent, for_controller):
        part.add_argument("-o", "--output", metavar="DIR", type=Path, help="where they go (default: below the CA)")
        part.add_argument(
            "--days",
            metavar="N",
            type=whole_number("number", 3650),
            default=730,
            help="how long they are valid (default: 730)",
        )


def _certs(options: argparse.Namespace) -> int:
    from sai3tui.certs_command import issue_certificates, make_ca

    if options.what == "init":
        return make_ca(options.ca, sys.stdout)
    return issue_certificates(options.what, options.ca, options.output, options.names, options.days, sys.stdout)
