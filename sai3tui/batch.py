"""The headless front: the same session as in the control room, printed as lines, a progress bar or JSON.

What a program wants goes to stdout (the summary, or with `--json` everything, one object a line); what a person
follows goes to stderr.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sai3tui.access import NO_ACCESS, Access
from sai3tui.batch_output import JsonPrinter, LinePrinter, Printer, finding_lines, summary_lines
from sai3tui.batch_progress import ProgressPrinter
from sai3tui.config.stage_choice import StageChoice
from sai3tui.config.yaml12 import MAX_BYTES
from sai3tui.controller.attaching import results_directory
from sai3tui.controller.request import DETACHED, EXIT_CONFIG, EXIT_FAILED, EXIT_OK, AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Outcome, RunSnapshot
from sai3tui.errors import ConfigError, Failure, ResourceError, printable
from sai3tui.events import Attached, Level, event_json
from sai3tui.handover import hand_over, led_words, parting_words
from sai3tui.processes import collect_seldom
from sai3tui.results.baseline import baseline_json
from sai3tui.results.ci import CiRun, junit_xml, markdown_summary
from sai3tui.results.describe import failure_lines
from sai3tui.results.figures import stage_json
from sai3tui.results.files import write_whole
from sai3tui.results.json_text import json_text
from sai3tui.results.metadata import failure_json
from sai3tui.results.threshold_text import threshold_json
from sai3tui.tasks import end_task

SIGNALS: Mapping[signal.Signals, int] = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the command line said. `results`: where the results directory is made, None for the current one; `junit` and
    `summary`: files for a build server."""

    config: Path
    json: bool = False
    results: Path | None = None
    fresh: bool = False
    preflight: bool = True
    agents: tuple[str, ...] = ()
    only: StageChoice = StageChoice.ALL
    verbose: bool = False
    junit: Path | None = None
    summary: Path | None = None
    access: Access = NO_ACCESS
    measure_rate: bool = False
    adopt: bool = False
    baseline: Path | None = None
    resumed: Path | None = None
    name: str = ""
    """As in `RunRequest`, like `resumed`."""
    attach: AttachOrder | None = None
    """Go on with a run in progress instead of starting one."""
    abort: bool = False
    """End the run that was attached to."""
    owned: bool = False
    """The agents end with us."""


def run_batch(options: BatchOptions) -> int:
    """Run a configuration, or go on with a run in progress, to its end; returns the exit code."""
    try:
        request = _request(options, preflight_only=False)
    except ConfigError as error:
        return _unreadable(options, error.failure())
    if options.json:
        printer: Printer = JsonPrinter(sys.stdout)
    elif sys.stderr.isatty() and not options.verbose:
        printer = ProgressPrinter()
    else:
        printer = LinePrinter(sys.stderr)
    session = RunSession(request)
    if options.abort:
        session.listen(partial(_abort_once_attached, session))
    printer.on_closed = lambda: session.request_abort("nobody reads the output any more", 128 + signal.SIGPIPE)
    collect_seldom()
    outcome = asyncio.run(_run(session, printer))
    if outcome.status == DETACHED:
        return _parted(session, outcome, options)
    return _for_build_server(options, session.snapshot(), outcome, _finish(options, session.snapshot(), outcome))


def run_preflight(options: BatchOptions) -> int:
    """Check agents and storage for a configuration without running it; returns the exit code."""
    try:
        request = _request(options, preflight_only=True)
    except ConfigError as error:
        return _unreadable(options, error.failure())
    session = RunSession(request)
    outcome = asyncio.run(_run(session, LinePrinter(sys.stderr, only=Level.ERROR)))
    findings = session.snapshot().findings
    if options.json:
        document = {
            "ok": outcome.exit_code == 0,
            "exit": outcome.exit_code,
            "failure": failure_json(outcome.failure) if outcome.failure else None,
            "findings": [_finding_json(event_json(finding)) for finding in findings],
        }
        _to_stdout(json_text(document, indent=2))
    else:
        for line in finding_lines(findings):
            _to_stdout(line)
    if outcome.failure is not None:
        _tell(outcome.failure)
    return outcome.exit_code


def _abort_once_attached(session: RunSession, item: object) -> None:
    if isinstance(item, Attached):
        session.request_abort("asked on the command line")


def _parted(session: RunSession, outcome: Outcome, options: BatchOptions) -> int:
    """We have left and the run goes on: somebody else leads it, or is to now."""
    directory = Path(outcome.results) if outcome.results else None
    snapshot = session.snapshot()
    access = options.access.options()
    hands_over = not session.parted_for_good
    if session.coming and options.attach is not None:
        # A terminal that went away while we came: who is to lead comes in our place.
        directory = results_directory(options.attach)
        hands_over = outcome.exit_code == EXIT_OK and not (options.abort or options.attach.view)
        access += ["--take-over"] if options.attach.take_over else []
    if options.json:
        _to_stdout(json_text(_result(outcome, snapshot)))
    if not hands_over or directory is None:
        _to_terminal(led_words(snapshot, options.attach.targets if options.attach is not None else ()))
        return outcome.exit_code
    try:
        pid = hand_over(directory, access)
    except ResourceError as error:
        _tell(error.failure())
        return 128 + signal.SIGHUP
    _to_terminal(parting_words(directory, pid))
    return EXIT_OK


def _to_terminal(words: str) -> None:
    """It may be gone, which is why we leave."""
    with suppress(OSError):
        sys.stderr.write(words)
        sys.stderr.flush()


def _on_signal(session: RunSession, number: signal.Signals) -> None:
    """A terminal that goes away takes nothing with it, if that can be helped; any other signal ends the run."""
    snapshot = session.snapshot()
    if number == signal.SIGHUP and (session.coming or (snapshot.detachable and not snapshot.viewing)):
        session.request_detach(number.name)
    else:
        session.request_abort(number.name, SIGNALS[number])


async def _run(session: RunSession, printer: Printer) -> Outcome:
    session.listen(printer.item, printer.second)
    with _signals(session):
        watching = asyncio.create_task(printer.watch(session.snapshot))
        try:
            return await session.run()
        finally:
            # A display that fails takes no run with it.
            await end_task(watching)
            printer.close()


@contextmanager
def _signals(session: RunSession) -> Iterator[None]:
    """Each signal asks for an abort, the second one for nothing more; handlers of before are put back."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # nohup means it. That a shell ignores SIGINT for what it runs in the background does not: who sends it wants it.
    taken = [number for number in SIGNALS if number != signal.SIGHUP or before[number] != signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, _on_signal, session, number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _request(options: BatchOptions, *, preflight_only: bool) -> RunRequest:
    """Raises ConfigError if the file cannot be read."""
    if options.attach is not None:
        return RunRequest(
            Path(),
            b"",
            results_root=options.results,
            verbose=options.verbose,
            access=options.access,
            command_line=tuple(sys.argv),
            baseline=options.baseline,
            attach=options.attach,
        )
    try:
        with options.config.open("rb") as file:
            # One byte more than is allowed, so that the loader can say that it is too much.
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot read {options.config}: {reason}", hint="check its name and permissions") from None
    return RunRequest(
        owned=options.owned,
        config_path=options.config,
        config_text=text,
        results_root=options.results,
        fresh=options.fresh,
        preflight=options.preflight,
        agents_override=options.agents,
        only=options.only,
        preflight_only=preflight_only,
        command_line=tuple(sys.argv),
        verbose=options.verbose,
        access=options.access,
        measure_rate=options.measure_rate,
        adopt=options.adopt,
        baseline=options.baseline,
        resumed=options.resumed,
        name=options.name,
    )


def _unreadable(options: BatchOptions, failure: Failure) -> int:
    outcome = Outcome("failed", EXIT_CONFIG, failure)
    if options.json:
        _to_stdout(json_text(_result(outcome, RunSnapshot())))
    _tell(failure)
    return _for_build_server(options, RunSnapshot(), outcome, EXIT_CONFIG)


def _finish(options: BatchOptions, snapshot: RunSnapshot, outcome: Outcome) -> int:
    if options.json:
        _to_stdout(json_text(_result(outcome, snapshot)))
    elif snapshot.started_ns:
        for line in summary_lines(snapshot, outcome):
            _to_stdout(line)
    if outcome.failure is not None:
        _tell(outcome.failure)
    if outcome.resume and not options.json:
        sys.stderr.write(f"to go on where it stopped: {outcome.resume}\n")
    return outcome.exit_code


def _for_build_server(options: BatchOptions, snapshot: RunSnapshot, outcome: Outcome, code: int) -> int:
    """Write what was asked for; the exit code, which is that of a failed run if that cannot be done."""
    run = CiRun(
        snapshot.run_id,
        options.config.name,
        snapshot.started_ns,
        snapshot.elapsed_s,
        snapshot.stages,
        snapshot.thresholds,
        outcome,
    )
    problems: list[ResourceError] = []
    if options.junit is not None:
        write_whole(options.junit, junit_xml(run), problems.append)
    if options.summary is not None:
        write_whole(options.summary, markdown_summary(run).encode(), problems.append)
    for problem in problems:
        _tell(problem.failure())
    return EXIT_FAILED if problems and code == EXIT_OK else code


def _result(outcome: Outcome, snapshot: RunSnapshot) -> dict[str, Any]:
    return {
        "type": "result",
        "exit": outcome.exit_code,
        "status": outcome.status,
        "results": outcome.results or None,
        "run_id": snapshot.run_id,
        "seconds": round(snapshot.elapsed_s, 3),
        "failure": failure_json(outcome.failure) if outcome.failure else None,
        "resume": outcome.resume or None,
        "notices": list(snapshot.notices),
        "stages": [stage_json(stage) for stage in snapshot.stages],
        "thresholds": [threshold_json(view) for view in snapshot.thresholds],
        "baseline": baseline_json(snapshot.baseline) if snapshot.baseline is not None else None,
    }


def _finding_json(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "type"}


def _tell(failure: Failure) -> None:
    first, *rest = failure_lines(failure)
    text = f"sai3tui: {first}\n" + "".join(f"  {line}\n" for line in rest)
    sys.stderr.write(printable(text, lines=True))


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
