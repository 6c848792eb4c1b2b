"""A run read from its stored totals and seconds shows the same as one that is added up from every report."""

from __future__ import annotations

import shutil
from csv import DictReader
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, ResourceError
from sai3tui.events import (
    AttemptStats,
    BarrierArrived,
    BarrierReleased,
    EndpointStats,
    Event,
    Objects,
    Report,
    RunFinished,
    RunStarted,
    StageFinished,
    StageSummary,
    Vitals,
    WorkHandedOver,
)
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.results.compared import load_for_comparison
from sai3tui.results.files import write_whole
from sai3tui.results.history import in_order
from sai3tui.results.reader import RunRecord, load_run
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.tally import Tally
from sai3tui.results.totals import SECONDS, TOTALS, read_totals
from sai3tui.results.views import Outcome
from sai3tui.results.writer import RunWriter
from tests.test_metrics_histogram import everything
from tests.test_results_figures import STAGES, START, report, stats
from tests.test_results_files import META

AGENTS = ("a", "b", "c")


def no_error(error: ResourceError) -> None:
    raise error


def reported(agent: str, second: float, count: int, *, warmup: bool = False) -> Report:
    service = Histogram(COARSE)
    service.record([1_000_000 + 1000 * count] * count)
    attempt = AttemptStats(ErrorKind.NETWORK, "reset", 0, "s3://e/", Op.GET, 1, 1, START, START + 5, "id", "gone")
    return replace(
        report(agent, second, 1.0, stats(Op.GET, count, 1000 + count), stats(Op.PUT, 3, 40, errors=1)),
        endpoints=(EndpointStats(0, "s3://e/", Op.GET, count, count * 10, 0, count, service),),
        failed_attempts=(attempt,),
        vitals=Vitals(20, 10, nic_pct=float(count % 7), tcp_retransmits=1),
        client_limited_reason="its CPU is busy" if agent == "b" else "",
        warmup=warmup,
    )


def happened(seconds: int, first: int) -> list[Event | Report]:
    """A run whose second stage ends, with agents that cross in time; it is `first` seconds old at its first report."""
    base = START + first * SECOND_NS
    items: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", AGENTS),
        BarrierReleased(base, "", 0, base, AGENTS),
    ]
    for second in range(seconds):
        order = AGENTS if second % 2 else AGENTS[::-1]
        items += [reported(agent, first + second, 5 + second % 9, warmup=second < 2) for agent in order]
    end = base + seconds * SECOND_NS
    for agent in AGENTS:
        summary = StageSummary(1, STAGES[0].name, STAGES[0].type, float(seconds - 2))
        items.append(BarrierArrived(end, agent, 1, summary))
    return [*items, StageFinished(end, "", 1, STAGES[0].name), RunFinished(end, "", "success")]


def write(root: Path, items: list[Event | Report], checkpoints: set[int]) -> RunWriter:
    """As a controller does; a killed one has flushed and never closes."""
    problems: list[ResourceError] = []
    tally = Tally(STAGES)
    writer = RunWriter.create(root, META, tally, b"x: 1\n", None)
    for number, item in enumerate(items):
        writer.write(item, tally.apply(item))
        if number in checkpoints:
            writer.checkpoint()
    writer.flush()
    assert writer.problems == problems
    return writer


def shown(path: Path) -> tuple[object, ...]:
    """All that anybody makes of a run, histograms as what they say."""
    seconds: list[tuple[object, ...]] = []

    def take(second: FleetSecond) -> None:
        rows = [(s.op, s.bucket, s.ops, s.bytes, s.errors, s.attempts) for s in second.ops.rows()]
        seconds.append((second.stage_index, second.number, second.seconds, second.warmup, rows))

    record: RunRecord = load_run(path, take)
    details = [
        (
            index,
            [
                (op, f.ops, f.errors, everything(f.service), everything(f.scheduled))
                for op, f in sorted(d.figures.items())
            ],
            [(key, f.ops, everything(f.service)) for key, f in sorted(d.agents.items())],
            sorted(d.cells.items()),
            sorted(d.seconds.items()),
        )
        for index, d in sorted(record.details.items())
    ]
    intervals = {
        key: (column.ops.tolist(), column.bytes.tolist(), column.counts.sum())
        for key, column in load_for_comparison(path).intervals.items()
    }
    return (
        sorted(seconds),
        record.stages,
        record.endpoints,
        record.agents,
        [getattr(record.series, name) for name in ("at_s", "get_bytes", "put_bytes", "ops", "stage_index")],
        sorted((line.time_ns, line.agent, line.text) for line in record.log),
        details,
        intervals,
    )


def both(path: Path, root: Path) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """With what is stored, and from every report."""
    assert read_totals(path) is not None
    plain = root / "plain"
    shutil.copytree(path, plain)
    (plain / TOTALS).unlink()
    return shown(path), shown(plain)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(3, 30),
    st.sampled_from([0, 590, 7190]),
    st.sets(st.integers(5, 90), max_size=3),
    st.none() | st.integers(8, 90),
)
def test_stored_totals_say_what_the_reports_say(
    tmp_path_factory: pytest.TempPathFactory, seconds: int, first: int, checkpoints: set[int], killed: int | None
) -> None:
    """Whenever the controller was killed, and whenever it last kept what all comes to."""
    root = tmp_path_factory.mktemp("run")
    items = happened(seconds, first)
    writer = write(root, items[:killed], checkpoints | {4})
    if killed is None or killed >= len(items):
        writer.finish(Outcome("success", 0), START + (first + seconds) * SECOND_NS)
    try:
        with_totals, without = both(writer.directory, root)
    finally:
        writer.close()
    for one, other in zip(with_totals, without, strict=True):
        assert one == other


def test_totals_that_do_not_belong_to_the_reports_are_not_used(tmp_path: Path) -> None:
    writer = write(tmp_path, happened(5, 0), set())
    writer.finish(Outcome("success", 0), START + 5 * SECOND_NS)
    before = shown(writer.directory)
    for name in (SECONDS, "metrics.zst"):
        data = (writer.directory / name).read_bytes()
        write_whole(writer.directory / name, data[: len(data) // 2], no_error)
        assert read_totals(writer.directory) is None
        write_whole(writer.directory / name, data, no_error)
    assert shown(writer.directory) == before
    for broken in (b"", b"not zstd", (writer.directory / TOTALS).read_bytes()[:-3]):
        write_whole(writer.directory / TOTALS, broken, no_error)
        assert read_totals(writer.directory) is None
        assert shown(writer.directory) == before


def test_who_goes_on_with_a_run_makes_its_totals_anew(tmp_path: Path) -> None:
    items = happened(12, 0)
    writer = write(tmp_path, items[:20], {10})
    writer.close()
    tally = Tally(STAGES)
    again = RunWriter(writer.directory, META, tally, reopen=True)
    assert read_totals(writer.directory) is None
    for number, item in enumerate(items):
        again.write(item, tally.apply(item), known=number < 20)
        if number < 19:
            again.checkpoint()
            assert read_totals(writer.directory) is None
    again.finish(Outcome("success", 0), START + 12 * SECOND_NS)
    with_totals, without = both(writer.directory, tmp_path)
    assert with_totals == without


def test_who_goes_on_with_a_run_writes_each_report_into_one_row(tmp_path: Path) -> None:
    """Reports that came late stand in a later row than in a replay, where none is late."""
    begin: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", AGENTS[:2]),
        BarrierReleased(START, "", 0, START, AGENTS[:2]),
    ]
    prompt = [reported("a", second, 7) for second in range(8)]
    late = [reported("b", second + 0.01, 9) for second in range(8)]
    tally = Tally(STAGES)
    writer = RunWriter.create(tmp_path, META, tally, b"x: 1\n", None)
    for item in [*begin, *prompt[:6]]:
        writer.write(item, tally.apply(item))
    writer.seconds(tally.tick(START + 7 * SECOND_NS))
    for item in late[:6]:
        writer.write(item, tally.apply(item))
    writer.close()

    tally = Tally(STAGES)
    again = RunWriter(writer.directory, META, tally, reopen=True)
    assert len(again.history.reports) == 12
    known = {id(item) for item in (*again.history.events, *again.history.reports)}
    new = [*prompt[6:], *late[6:]]
    for each in in_order([*again.history.events, *again.history.reports, *new]):
        again.write(each, tally.apply(each), known=id(each) in known)
    end = START + 8 * SECOND_NS
    for finished in (StageFinished(end, "", 1, STAGES[0].name), RunFinished(end, "", "success")):
        again.write(finished, tally.apply(finished))
    again.finish(Outcome("success", 0), end)
    for name, reports in {"perf_log.tsv": [*prompt, *late], "agents/a/perf_log.tsv": prompt}.items():
        with (writer.directory / name).open() as file:
            rows = list(DictReader(file, delimiter="\t"))
        assert len(rows) == 8
        for group, op in (("get", Op.GET), ("put", Op.PUT)):
            done = sum(stats.ops for each in reports for stats in each.ops if stats.op is op)
            assert sum(int(row[f"{group}_ops"]) for row in rows) == done


def test_half_an_event_goes_only_once_nobody_else_writes(tmp_path: Path) -> None:
    writer = write(tmp_path, happened(3, 0)[:-2], set())
    path = writer.directory / "events.jsonl"
    with path.open("ab") as file:
        file.write(b'{"time": ')
    whole = path.read_bytes()
    with pytest.raises(ResourceError, match="another controller"):
        RunWriter(writer.directory, META, Tally(STAGES), reopen=True)
    assert path.read_bytes() == whole
    writer.close()
    again = RunWriter(writer.directory, META, Tally(STAGES), reopen=True)
    again.close()
    assert path.read_bytes() == whole.removesuffix(b'{"time": ')


def test_what_was_handed_over_is_taken_off_once(tmp_path: Path) -> None:
    """It is an event, and not in what is stored of the agent's reports."""
    items: list[Event | Report] = [RunStarted(START, "", "r1", "tiny.yaml", "abc", AGENTS)]
    items.append(BarrierReleased(START, "", 0, START, AGENTS))
    items += [replace(reported(agent, 0, 4), objects=Objects(planned=100, done=40)) for agent in AGENTS]
    items.append(WorkHandedOver(START + SECOND_NS, "a", 1, 60, ("b",)))
    items.append(replace(reported("b", 1, 4), objects=Objects(planned=160, done=80)))
    writer = write(tmp_path, items, {len(items) - 1})
    writer.close()
    path = writer.directory
    assert read_totals(path) is not None
    assert (load_run(path).stages[0].done, load_run(path).stages[0].planned) == (160, 40 + 160 + 100)
    (path / TOTALS).unlink()
    assert (load_run(path).stages[0].done, load_run(path).stages[0].planned) == (160, 40 + 160 + 100)


def test_what_is_done_again_counts_once() -> None:
    """Who comes to a run does not know which objects a dead agent had done, and has others do all of them."""
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, AGENTS))
    for agent in AGENTS:
        tally.apply(replace(reported(agent, 0, 4), objects=Objects(planned=100, done=40, existed=10)))
    tally.apply(WorkHandedOver(START + SECOND_NS, "a", 1, 100, ("b",)))
    tally.apply(replace(reported("b", 1, 4), objects=Objects(planned=200, done=190, existed=10)))
    stage = tally.stages[1].view(START + 2 * SECOND_NS)
    assert (stage.done, stage.planned) == (200 + 50, 200 + 100)


def test_who_gets_more_to_do_at_a_barrier_tells_of_that_in_another_summary() -> None:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    for number, done in enumerate((4, 9)):
        report = reported("a", number, done)
        tally.apply(report)
        rows = report.ops if number == 0 else tuple(tally.stages[1].agents["a"].ops.rows()) + report.ops
        summary = StageSummary(1, STAGES[0].name, STAGES[0].type, 2.0, rows, objects=Objects(planned=done, done=done))
        tally.apply(BarrierArrived(START + (number + 2) * SECOND_NS, "a", 1, summary))
    stage = tally.stages[1].view(START + 5 * SECOND_NS)
    assert (stage.done, stage.total_ops) == (9, 4 + 9 + 2 * 3)
    assert not [line.text for line in tally.log if "lack" in line.text]


@given(st.permutations([0, 1, 2]))
def test_a_summary_says_the_last_word_though_reports_come_after_it(order: list[int]) -> None:
    """Two controllers may estimate an agent's clock differently, and what they wrote is put in order by time."""
    told = [
        replace(reported("a", 0, 4), objects=Objects(planned=9, done=4)),
        replace(reported("a", 1, 5), objects=Objects(planned=9, done=6)),
    ]
    whole = Tally(STAGES)
    whole.apply(BarrierReleased(START, "", 0, START, ("a",)))
    for each in told:
        whole.apply(each)
    rows = tuple(whole.stages[1].agents["a"].ops.rows())
    attempts = tuple(whole.stages[1].failed_attempts)
    summary = StageSummary(
        1, STAGES[0].name, STAGES[0].type, 2.0, rows, objects=Objects(planned=9, done=9), failed_attempts=attempts
    )
    items: list[Event | Report] = [*told, BarrierArrived(START + 2 * SECOND_NS, "a", 1, summary)]
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    for place in order:
        tally.apply(items[place])
    stage = tally.stages[1].view(START + 3 * SECOND_NS)
    assert (stage.total_ops, stage.errors, stage.done, stage.planned) == (9 + 6, 2, 9, 9)
    assert stage.failed_attempts == attempts
    assert tally.stages[1].ops.counts() == whole.stages[1].ops.counts()
    (endpoint,) = tally.stages[1].endpoints.by_uri().values()
    assert endpoint[Op.GET].ops == 9
