"""Keys of one's own: a file that maps ids of bindings (as help shows them) to keys."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import yaml

from sai3tui.errors import ConfigError

HINT = "a line is `id: key` or `id: key,key`; help (f1) shows the ids, `textual keys` what a terminal sends"


def keymap_file() -> Path:
    """Where it is looked for."""
    return platformdirs.user_config_path("sai3tui", appauthor=False) / "keys.yaml"


def read_keymap(path: Path) -> dict[str, str]:
    """Keys by id; nothing if there is no file. Raises ConfigError if it is no such mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint=HINT) from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}", hint=HINT) from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise ConfigError(f"{path} does not map ids to keys", hint=HINT)
    return dict(found)
