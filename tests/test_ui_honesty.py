"""The control room shows what the figures owe to the load generator, and what was tried again."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.config.ops import Op
from sai3tui.controller.snapshot import StageStatus
from sai3tui.errors import ErrorKind
from sai3tui.events import AttemptStats
from sai3tui.theme import DARK_ROLES
from sai3tui.widgets.agent_card import agent_lines
from sai3tui.widgets.run_views import report_of
from sai3tui.widgets.stage_line import detail_line
from sai3tui.widgets.stage_table import stage_words, verdict_lines
from tests import canned_runs as canned

WHY = "agent-1: a worker process used 99 % of its core (in 40 of 45 s)"
RESET = AttemptStats(ErrorKind.NETWORK, "reset", 0, "s3://e/", Op.GET, 1250, 1249)


def test_a_stage_that_the_client_limits_says_so_live_and_afterwards() -> None:
    snapshot = canned.running()
    stages = tuple(
        replace(stage, client_limited=WHY, failed_attempts=(RESET,)) if stage.status is StageStatus.RUNNING else stage
        for stage in snapshot.stages
    )
    assert stages != snapshot.stages
    line = detail_line(replace(snapshot, stages=stages), 140, DARK_ROLES).plain
    assert "▲ 1,249 made again" in line
    assert "▲ limited by the client" in line
    ended = canned.finished(replace(snapshot, stages=stages))
    lines = " ".join(line.plain.strip() for line in verdict_lines(report_of(ended), 200, DARK_ROLES))
    assert f"limited by the load generator: {WHY}" in lines
    running = next(stage for stage in stages if stage.client_limited)
    assert "1,249 attempts made again" in stage_words(running)


def test_an_agent_shows_how_long_answers_wait_and_what_its_network_does() -> None:
    (agent,) = canned.agents(1)
    quiet = "\n".join(line.plain for line in agent_lines(agent, 100, DARK_ROLES))
    assert "answers wait" not in quiet
    assert "network" not in quiet
    vitals = replace(
        agent.vitals, worker_lag_p99_us=2500.0, nic_bytes_per_s=112.5 * 2**20, nic_pct=94.0, tcp_retransmits=3
    )
    shown = "\n".join(line.plain for line in agent_lines(replace(agent, vitals=vitals), 100, DARK_ROLES))
    assert "answers wait 2.50 ms (p99)" in shown
    assert "(94 % of the link), 3 segments sent again" in shown
