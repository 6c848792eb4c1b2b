"""The questions before a live run is left or ended. What they say is true: results and objects stay."""

from __future__ import annotations

from sai3tui.controller.snapshot import Lead, RunSnapshot
from sai3tui.screens.confirm import Answer, ConfirmScreen
from sai3tui.widgets.text import plural, span


def abort_question(snapshot: RunSnapshot, title: str, label: str) -> ConfirmScreen:
    """The question before a live run is ended. What it says is true: results and objects stay."""
    stage = next((s for s in snapshot.stages if s.index == snapshot.stage_index), None)
    where = "It has not started a stage yet."
    if stage is not None:
        where = f"Stage {stage.index}/{len(snapshot.stages)} {stage.name}, {span(snapshot.elapsed_s)} in."
    return ConfirmScreen(
        title,
        [
            f"Stop this run on {plural(len(snapshot.agents), 'agent')}?",
            where,
            "",
            "Results so far are kept, and so are the objects.",
            "Run again, the configuration goes on where prepare stopped.",
        ],
        [Answer("a", label, "abort"), Answer("s", "stay", "stay")],
    )


def quit_question(snapshot: RunSnapshot, title: str, label: str) -> ConfirmScreen:
    """As `abort_question`, for a run that can go on without us."""
    question = abort_question(snapshot, title, label)
    lines = [
        "Leave this run, or stop it?",
        question.lines[1],
        "",
        "Detached, it goes on in the background; `sai3tui attach --take-over` brings it back.",
        "Aborted, results so far are kept, and so are the objects.",
    ]
    answers = [Answer("d", "detach", "detach"), Answer("a", label, "abort"), Answer("s", "stay", "stay")]
    return ConfirmScreen(title, lines, answers)


def take_over_question(snapshot: RunSnapshot) -> ConfirmScreen:
    """The question before another controller is made a viewer."""
    lead = snapshot.lead or Lead()
    lines = [
        f"{lead.sentence}.",
        "",
        "Take it over? Agents go on with what they do, and then do what is said here.",
        "Whoever leads it now may watch on, and may take it back.",
    ]
    answers = [Answer("t", "take it over", "take"), Answer("s", "keep watching", "stay")]
    return ConfirmScreen("Take the run over", lines, answers)


def watching_words(snapshot: RunSnapshot) -> str:
    """Why a key that steers does nothing. Empty where it does something."""
    return f"{snapshot.lead.sentence}, and this is a view of it: t takes it over" if snapshot.lead is not None else ""
