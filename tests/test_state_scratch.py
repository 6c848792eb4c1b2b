"""Directories for a moment's work: gone in the end, and after a kill with the next agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sai3tui.cache_command import places
from sai3tui.state.scratch import clear, scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from sai3tui.state.scratch import scratch
with scratch(Path(sys.argv[1]), "checkpoint") as directory:
    (directory / "data.mdb").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_has_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    caches = tmp_path / "agent" / "cache"
    caches.mkdir(parents=True)
    (caches / "0123").mkdir()
    (caches / "0123" / "data.mdb").touch()
    subprocess.run([sys.executable, "-c", KILLED, str(caches)], check=False)
    with scratch(caches, "restore") as used:
        assert len(list(caches.iterdir())) == 3
        # It is no layout.
        assert [place.layout for place in places(tmp_path)] == ["0123"]
        clear(caches)
        assert {path.name for path in caches.iterdir()} == {"0123", used.name}
    assert [path.name for path in caches.iterdir()] == ["0123"]
    clear(tmp_path / "not there")
