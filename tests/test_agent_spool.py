"""The spool: numbered, bounded, followed by any number of readers."""

from __future__ import annotations

import asyncio

from sai3tui.agent.spool import Spool
from sai3tui.proto import sai3tui_pb2 as pb


def note(text: str) -> pb.AgentMessage:
    return pb.AgentMessage(note=pb.Note(text=text))


def report(stage: int) -> pb.AgentMessage:
    return pb.AgentMessage(report=pb.Report(stage_index=stage, start_ns=1 << 60, end_ns=1 << 60))


async def test_messages_are_numbered_from_one_and_read_from_a_cursor() -> None:
    spool = Spool("run-1")
    for number in range(6):
        spool.append(report(number) if number % 2 else note(str(number)))
    assert [m.sequence for m in spool.since(0)] == [1, 2, 3, 4, 5, 6]
    assert [m.sequence for m in spool.since(4)] == [4, 5, 6]
    assert spool.since(7) == []
    assert {m.run_id for m in spool.since(0)} == {"run-1"}


async def test_reports_are_dropped_first_come_first_gone_and_push_nothing_else_out() -> None:
    spool = Spool("r", report_bytes=200)
    spool.append(note("kept"))
    for number in range(1, 101):
        spool.append(report(number))
    kept = spool.since(0)
    assert kept[0].note.text == "kept"
    assert kept[-1].report.stage_index == 100
    assert 1 < len(kept) < 20
    assert spool.dropped == 101 - len(kept)


async def test_followers_see_everything_once_and_end_with_the_spool() -> None:
    spool = Spool("r")
    spool.append(note("before"))

    async def read(cursor: int) -> list[int]:
        return [m.sequence async for m in spool.follow(cursor)]

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        first = group.create_task(read(0))
        second = group.create_task(read(2))
        await asyncio.sleep(0)
        for number in range(50):
            spool.append(note(str(number)))
            if number % 7 == 0:
                await asyncio.sleep(0)
        spool.close()
    assert first.result() == list(range(1, 52))
    assert second.result() == list(range(2, 52))


async def test_what_the_course_of_a_run_was_is_kept_whatever_else_is_dropped() -> None:
    spool = Spool("r", report_bytes=1, other_bytes=1)
    course = [
        pb.AgentMessage(assigned=pb.Assignment(epoch=1)),
        pb.AgentMessage(released=pb.Release()),
        pb.AgentMessage(arrived=pb.Arrived()),
        pb.AgentMessage(state=pb.StateChanged(state=pb.RUNNING)),
        pb.AgentMessage(surveyed=pb.Surveyed(epoch=1)),
    ]
    for message in course:
        spool.append(message)
        spool.append(note("x" * 1000))
        spool.append(report(1))
    kept = [m.WhichOneof("body") for m in spool.since(0)]
    assert kept == ["assigned", "released", "arrived", "state", "surveyed", "note", "report"]
    assert spool.dropped == 2 * len(course) - 2
