"""Configurations to start from, kept as files beside this one."""

from __future__ import annotations

from pathlib import Path

from sai3tui.screens.chooser import Choice, ChooserScreen

DIRECTORY = Path(__file__).with_name("templates")
ORDER = ("small", "seed_layout", "small_put", "mixed", "training_read", "multi_endpoint")


def templates() -> dict[str, str]:
    """Texts by name, the simplest first."""
    return {name: (DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8") for name in ORDER}


def template_chooser() -> ChooserScreen[str]:
    """Asks for a template; the result is its name."""
    choices = []
    for name, text in templates().items():
        comment = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
        title, _, rest = comment[0].partition(": ")
        choices.append(Choice(title, name, rest or " ".join(comment[1:]), " ".join(comment)))
    return ChooserScreen("Begin with", choices)
