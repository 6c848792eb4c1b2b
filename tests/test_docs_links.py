"""The documents name files that exist, and the commands and exit codes that the program has."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from sai3tui import cli
from sai3tui.config.preflight import CHECKS

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/control-room.md",
    "docs/deploy.md",
    "docs/preflight.md",
    "docs/security.md",
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name: str) -> None:
    document = REPOSITORY / name
    text = document.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"^\[[\w-]+\]: (\S+)$", text, flags=re.MULTILINE)
    for target in map(unquote, links):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{name} links to {target}"


def test_the_architecture_names_modules_that_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    for name in sorted(set(re.findall(r"`([a-z_/0-9]+(?:\.py|\.proto|/))`", text))):
        places = (REPOSITORY / "sai3tui" / name, REPOSITORY / name)
        assert any(place.exists() for place in places), f"docs/architecture.md names {name}"


def test_the_readme_shows_only_commands_that_exist() -> None:
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    words = re.findall(r"^sai3tui ([a-z]+)(?= )", "\n".join(blocks), flags=re.MULTILINE)
    assert words
    assert set(words) <= set(cli.COMMANDS)


def test_make_targets_in_documents_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for name in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)`", (REPOSITORY / name).read_text()):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{name} names make {target}"


def test_every_preflight_check_is_described() -> None:
    text = (REPOSITORY / "docs" / "preflight.md").read_text()
    for check in CHECKS:
        overridable = "yes" if check.overridable else "no"
        assert f"| `{check.name}` | {check.text} | {overridable} |" in text
