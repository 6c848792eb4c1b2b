"""A finished run for build servers: JUnit XML, and a summary in markdown. Neither holds a figure of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from sai3tui.results.describe import failure_lines
from sai3tui.results.files import utc_text
from sai3tui.results.status import STAGE_HEADER, stage_cells, stage_notes
from sai3tui.results.threshold_text import HEADER, threshold_cells, verdict
from sai3tui.results.thresholds import ThresholdStatus, ThresholdView
from sai3tui.results.views import Outcome, StageStatus, StageView

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class CiRun:
    """What a build server is told. `started_ns` 0: it never started."""

    run_id: str
    config_name: str
    started_ns: int
    seconds: float
    stages: tuple[StageView, ...]
    thresholds: tuple[ThresholdView, ...]
    outcome: Outcome


def junit_xml(run: CiRun) -> bytes:
    """One suite: the run, each of its stages and each threshold is a test case."""
    suite = ElementTree.Element("testsuite", name=_xml(f"sai3tui {run.config_name}"), time=f"{run.seconds:.3f}")
    if run.started_ns:
        suite.set("timestamp", utc_text(run.started_ns)[:19])
    _case_of_run(suite, run)
    for stage in run.stages:
        case = _case(suite, run, f"stage {stage.index} {stage.name}", stage.elapsed_s)
        if stage.status in (StageStatus.FAILED, StageStatus.ABORTED):
            text = "\n".join(failure_lines(stage.failure)) if stage.failure is not None else stage.status.value
            _add(case, "failure", text.splitlines()[0], text)
        elif stage.status in (StageStatus.SKIPPED, StageStatus.PENDING):
            _add(case, "skipped", stage.status.value)
    for view in run.thresholds:
        case = _case(suite, run, f"threshold {view.text} in {view.stage}", 0.0)
        if view.failed:
            _add(case, "failure", verdict(view).lower(), view.sentence)
        elif view.status is ThresholdStatus.UNMEASURED:
            _add(case, "skipped", view.status.value)
    cases = suite.findall("testcase")
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def markdown_summary(run: CiRun) -> str:
    """How it ended, what must be met, what was done."""
    outcome = run.outcome
    status = outcome.status.replace("_", " ")
    lines = [f"## {_cell(run.config_name)}: {status}", ""]
    lines.append(f"Run `{run.run_id or 'none'}`, {run.seconds:.1f} s, exit code {outcome.exit_code}.")
    if outcome.failure is not None:
        lines += ["", "```text", *(line.replace("```", "'''") for line in failure_lines(outcome.failure)), "```"]
    if run.thresholds:
        lines += ["", "### Thresholds", "", *_table(HEADER, (threshold_cells(view) for view in run.thresholds))]
    if run.stages:
        lines += ["", "### Stages", "", *_table(STAGE_HEADER, (stage_cells(stage) for stage in run.stages))]
        notes = stage_notes(run.stages)
        lines += ["", *(f"- {_cell(note)}" for note in notes)] if notes else []
    if outcome.results:
        lines += ["", f"Results: `{outcome.results}`"]
    return "\n".join(lines) + "\n"


def _case_of_run(suite: ElementTree.Element, run: CiRun) -> None:
    case = _case(suite, run, "run", run.seconds)
    outcome = run.outcome
    if outcome.failure is not None:
        _add(case, "error", outcome.failure.message, "\n".join(failure_lines(outcome.failure)))
    elif outcome.exit_code:
        _add(case, "failure", f"{outcome.status.replace('_', ' ')}, exit code {outcome.exit_code}")


def _case(suite: ElementTree.Element, run: CiRun, name: str, seconds: float) -> ElementTree.Element:
    known = {"name": _xml(name), "classname": _xml(run.config_name), "time": f"{seconds:.3f}"}
    return ElementTree.SubElement(suite, "testcase", known)


def _add(case: ElementTree.Element, tag: str, message: str, text: str = "") -> None:
    element = ElementTree.SubElement(case, tag, message=_xml(message))
    element.text = _xml(text)


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NO_XML.sub(" ", text)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return [line(header), "|" + " --- |" * len(header), *(line(row) for row in rows)]


def _cell(text: str) -> str:
    """One line that markdown takes as text."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
