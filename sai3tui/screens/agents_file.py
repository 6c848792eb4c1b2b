"""Agents of one's own: a file that maps names to addresses, of which home shows whether they answer."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import yaml

from sai3tui.errors import ConfigError
from sai3tui.screens.files import read_config, text_of

HINT = "a line is `NAME: HOST:PORT`, such as `load01: 10.9.0.11:7167`"
MOST_AGENTS = 1024


def agents_file() -> Path:
    """Where it is looked for."""
    return platformdirs.user_config_path("sai3tui", appauthor=False) / "agents.yaml"


def read_agents(path: Path) -> dict[str, str]:
    """Addresses by name, in the order of the file; none if there is no file.

    Raises ConfigError if it is no such mapping, ResourceError if it cannot be read.
    """
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(text_of(read_config(path), path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {str(error)[:200]}", hint=HINT) from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise ConfigError(f"{path} does not map names to addresses", hint=HINT)
    if len(found) > MOST_AGENTS:
        raise ConfigError(f"{path} names more than {MOST_AGENTS} agents", hint="split it")
    bad = next((name for name, address in found.items() if not _is_address(address)), None)
    if bad is not None:
        raise ConfigError(f"{path}: {found[bad][:80]!r} is no address of an agent", hint=HINT)
    return dict(found)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    good_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    return bool(host) and good_port and not set(host) & set("/ \t\n")
