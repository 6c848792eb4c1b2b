"""What the live screen costs: the real control room on a pseudo-terminal, with a made-up fleet that reports at 1 Hz.

`python -m benchmarks.ui` prints, per number of agents: CPU of the control room, the time from its tick to the frame on
the terminal, and how long a key takes to be answered; then what the editor's check of 2,000 lines costs, and the
memory of a day's run. Headless runs would not do: Textual draws nothing then.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import resource
import select
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.app import Sai3App
from sai3tui.controller.frames import Frames
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.processes import collect_seldom
from sai3tui.screens.live import LiveScreen
from tests.canned_runs import running
from tests.scripted_session import ScriptedServices, ScriptedSession

SECONDS = 20
WARMUP_S = 6.0
KEYS = 12
DAY_S = 24 * 3600
SAMPLES_S = 3600
CHECKS = 9
TITLE = re.compile(rb"\x1b\]2;[^\x07]*\x07")
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "demo.yaml"


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU as a share of one core; times in milliseconds: median and the worst."""

    agents: int
    cpu: float
    frame_ms: float
    frame_worst_ms: float
    key_ms: float
    key_worst_ms: float


class Reporting(ScriptedSession):
    """A session whose agents report once a second."""

    def __init__(self, count: int) -> None:
        super().__init__(running(count=count))
        self._number = 0
        threading.Thread(target=self._report, daemon=True).start()

    def _report(self) -> None:
        while True:
            time.sleep(1.0)
            self._number += 1
            self.put(tick(self.snapshot(), self._number))
            self.frames.add(self.snapshot())


def tick(snapshot: RunSnapshot, number: int) -> RunSnapshot:
    """The next second: every agent, the curves and the clock are other ones."""
    agents = tuple(
        replace(
            agent,
            rates=replace(agent.rates, get_bytes=agent.rates.get_bytes * (0.9 + 0.2 * ((n + number) % 7) / 6)),
            history=(*agent.history[1:], agent.history[-(number % 50) - 1]),
        )
        for n, agent in enumerate(snapshot.agents)
    )
    series = snapshot.series
    moved = replace(
        series,
        **{
            name: (*getattr(series, name)[-3599:], getattr(series, name)[-(number % 40) - 1])
            for name in ("get_bytes", "put_bytes", "ops", "p50_us", "p99_us", "stage_index", "scheduled_p99_us")
        },
        at_s=(*series.at_s[-3599:], series.at_s[-1] + 1.0),
    )
    return replace(
        snapshot, config_name=f"tick-{number}-", elapsed_s=snapshot.elapsed_s + 1.0, agents=agents, series=moved
    )


def child(count: int, log: Path) -> None:
    """Run the control room, and note when each tick that has something to draw begins."""
    drawn = LiveScreen.tick
    with log.open("w", buffering=1) as out:

        def noted(screen: LiveScreen) -> None:
            began = time.monotonic()
            before = screen._snapshot.version
            drawn(screen)
            if screen._snapshot.version != before:
                out.write(f"{screen._snapshot.config_name} {began}\n")

        LiveScreen.tick = noted  # type: ignore[method-assign]
        Sai3App(ScriptedServices(Reporting(count)), (EXAMPLE, EXAMPLE.read_bytes()), start=True).run()


class Terminal:
    """The other end of the pseudo-terminal: reads all, and remembers when."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen: list[tuple[float, bytes]] = []

    def read(self, until: float) -> None:
        """Drain until a time on the monotonic clock."""
        while (left := until - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0]:
                self._take(os.read(self._descriptor, 1 << 16))

    def _take(self, part: bytes) -> None:
        # The title of the terminal says the name as well, at times of its own.
        self._seen.append((time.monotonic(), TITLE.sub(b"", part)))

    def first(self, text: bytes) -> float:
        """When a text came; 0 if it did not."""
        return next((when for when, part in self._seen if text in part), 0.0)

    def answer(self, key: bytes, limit_s: float = 5.0) -> float:
        """Seconds from a key to the first bytes that the sort order is in."""
        began = time.monotonic()
        os.write(self._descriptor, key)
        while time.monotonic() - began < limit_s:
            if select.select([self._descriptor], [], [], 0.005)[0]:
                part = os.read(self._descriptor, 1 << 16)
                self._take(part)
                if b"sort:" in part:
                    return time.monotonic() - began
        return limit_s


def measure(count: int, directory: Path) -> Measured:
    """One control room with `count` agents."""
    log = directory / f"ticks-{count}"
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    environ = dict(os.environ, TERM="xterm-256color", COLORTERM="truecolor")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.ui", "--child", str(count), "--log", str(log)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=environ,
        start_new_session=True,
    )
    terminal = Terminal(outer)
    try:
        terminal.read(time.monotonic() + WARMUP_S)
        before, began = cpu_seconds(process.pid), time.monotonic()
        terminal.read(began + SECONDS)
        cpu = (cpu_seconds(process.pid) - before) / (time.monotonic() - began)
        keys = []
        for _ in range(KEYS):
            keys.append(terminal.answer(b"s") * 1000)
            terminal.read(time.monotonic() + 0.3)
    finally:
        process.kill()
        process.wait()
        os.close(inner)
        os.close(outer)
    frames = []
    for line in log.read_text().splitlines():
        name, _, tick_at = line.partition(" ")
        seen = terminal.first(name.encode())
        if seen and tick_at:
            frames.append((seen - float(tick_at)) * 1000)
    return Measured(count, cpu, statistics.median(frames), max(frames), statistics.median(keys), max(keys))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def day(count: int) -> tuple[float, float]:
    """Memory in MiB after an hour and after a day of `count` agents, as fast as it goes."""
    frames, snapshot = Frames(), running(count=count)
    after_hour = 0.0
    for second in range(1, DAY_S + 1):
        snapshot = replace(snapshot, elapsed_s=float(second), version=second)
        if second % 60 == 0:
            snapshot = tick(snapshot, second)
            snapshot = replace(snapshot, elapsed_s=float(second))
        frames.add(snapshot)
        if second == SAMPLES_S:
            after_hour = memory_mib()
    return after_hour, memory_mib()


def validation() -> tuple[int, float, float]:
    """Lines of a large configuration, and how much CPU the editor's check of it takes in ms: median and the worst."""
    collect_seldom()  # as the control room does
    text = EXAMPLE.read_text()
    operations = "".join(f'  - {{op: get, path: "data/**/*", weight: {n % 9 + 1}}}\n' for n in range(900))
    text = text.replace("workload:\n", "workload:\n" + operations)
    agents = "".join(f'    - {{id: load-{n}, address: "10.9.{n // 250}.{n % 250 + 1}:7167"}}\n' for n in range(1042))
    text += agents
    services = ScriptedServices()
    times = []
    for _ in range(CHECKS):
        began = time.process_time()
        checked = services.check(text, "large.yaml")
        times.append((time.process_time() - began) * 1000)
        if checked.errors:
            raise SystemExit(f"the large configuration is none: {checked.errors[0]}")
    return text.count("\n"), statistics.median(times), max(times)


def memory_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="*", default=[4, 64, 256])
    parser.add_argument("--child", type=int, default=0)
    parser.add_argument("--day", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("ticks"))
    options = parser.parse_args()
    if options.child:
        child(options.child, options.log)
        return
    if options.day:
        hour, whole = day(options.day)
        sys.stdout.write(f"{hour:.0f} {whole:.0f}\n")
        return
    import tempfile

    print("| agents | CPU of a core | tick to frame, median (worst) | key answered, median (worst) |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for count in options.agents:
            got = measure(count, Path(directory))
            print(
                f"| {got.agents} | {got.cpu:.0%} | {got.frame_ms:.0f} ms ({got.frame_worst_ms:.0f}) "
                f"| {got.key_ms:.0f} ms ({got.key_worst_ms:.0f}) |"
            )
    lines, median_ms, worst_ms = validation()
    print(f"\nThe editor's check of {lines:,} lines: {median_ms:.0f} ms of CPU, at worst {worst_ms:.0f} ms.")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ui", "--day", "64"], capture_output=True, text=True, check=True
    )
    hour, whole = done.stdout.split()
    print(f"\nA day of 64 agents: {hour} MiB after the first hour, {whole} MiB after 24.")


if __name__ == "__main__":
    main()
