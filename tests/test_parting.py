"""What somebody is told who leaves a run or whose run another controller leads, and whom a run is handed over to."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sai3tui.controller.snapshot import AgentView, Lead, RunSnapshot
from sai3tui.errors import ResourceError
from sai3tui.handover import hand_over, led_words, parting_words
from tests.test_results_baseline import finished


@pytest.mark.parametrize(
    ("snapshot", "targets", "watch"),
    [
        (RunSnapshot(results_dir="/r/a b"), (), "; to watch it: sai3tui attach --view '/r/a b'"),
        (RunSnapshot(agents=(AgentView("a1", "h1:7167"), AgentView("a2", "h2:7167"))), (), "h1:7167"),
        (RunSnapshot(agents=(AgentView("a1", ""),)), ("h3:7167", "h4:7167"), "attach --view h3:7167 h4:7167"),
        (RunSnapshot(), (), "another controller leads this run"),
    ],
)
def test_who_is_displaced_is_told_how_to_watch_if_there_is_a_way(
    snapshot: RunSnapshot, targets: tuple[str, ...], watch: str
) -> None:
    words = led_words(replace(snapshot, lead=Lead()), targets)
    assert words.startswith("another controller leads this run")
    assert words.endswith(f"{watch}\n")
    # Nobody has said who leads: we came, and left before we did.
    untold = led_words(snapshot, targets)
    assert untold.startswith("the run goes on as it was")
    assert untold.partition(";")[2] == words.partition(";")[2]


def test_who_leaves_is_told_how_to_come_back_or_that_the_run_is_over() -> None:
    assert "sai3tui attach --take-over '/r/a b'" in parting_words(Path("/r/a b"), 7)
    assert parting_words(Path("/r/a b"), None) == "the run is over: sai3tui results show '/r/a b'\n"


def test_a_run_that_is_over_needs_no_controller_in_the_background(tmp_path: Path) -> None:
    assert hand_over(finished(tmp_path, [100] * 3)) is None


def test_a_controller_that_does_not_come_up_in_time_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sai3tui.handover.START_TIMEOUT_S", 0.0)
    begun = time.time()
    with pytest.raises(ResourceError, match="did not come up within 0 s and was ended") as raised:
        hand_over(tmp_path)
    assert f"sai3tui attach {tmp_path}" in raised.value.hint
    children = psutil.Process().children()
    assert not [child for child in children if child.create_time() >= begun and str(tmp_path) in child.cmdline()]
