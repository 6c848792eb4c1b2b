"""Tasks that nobody waits for: they end with their owner, and what they raise is heard of."""

from __future__ import annotations

import asyncio

import pytest

from sai3tui.tasks import Tasks, end_task


async def test_they_end_with_their_owner_and_a_defect_is_told() -> None:
    defects: list[BaseException] = []
    tasks = Tasks(defects.append)
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def breaks() -> None:
        raise ZeroDivisionError("of ours")

    async def through() -> None:
        ended.append("through")

    for work in (waits(), breaks(), through()):
        tasks.spawn(work)
    await asyncio.sleep(0)
    await tasks.close()
    await tasks.close()
    assert ended == ["through", "waits"]
    assert [str(defect) for defect in defects] == ["of ours"]


async def test_the_end_of_a_task_says_what_it_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError("of ours")

    task = asyncio.create_task(breaks())
    await asyncio.wait({task})
    await end_task(task)
    (record,) = caplog.records
    assert record.getMessage() == "this is a defect of sai3tui"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
