"""Fixtures for everybody: a real S3 server per test process, and Textual pictures that do not depend on the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before Textual is imported anywhere: it reads its settings once.
os.environ["TEXTUAL_ANIMATIONS"] = "none"
for _name in ("TEXTUAL_THEME", "TEXTUAL_DRIVER", "NO_COLOR"):
    os.environ.pop(_name, None)
# Whoever runs the tests may have credentials and an endpoint of a real storage set.
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]

import pytest
import pytest_textual_snapshot
from hypothesis import HealthCheck, settings
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation
from textual.app import App
from textual.widgets import Input, TextArea

from tests.servers import ServerUnderTest, running_server
from tests.tallies import tally

REPOSITORY = Path(__file__).resolve().parents[1]

# A busy machine is no defect: no example has a deadline, and slow drawing is no failure. CI draws the same examples
# every time, so that a change is judged by itself; elsewhere every run looks in new places.
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("anywhere"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "anywhere")


class TopLevelSVG(pytest_textual_snapshot.SVGImageExtension):
    """Keeps baselines in <repository>/snapshots/<test module>/<test name>.svg, with the picture's name in brackets
    where a test has several."""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(REPOSITORY / "snapshots" / test_location.basename)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ServerUnderTest]:
    """A real S3 server with two addresses, shared by the tests of one process. Take a bucket of your own."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def own_user_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """User data, state and cache go to a directory of this test process, for all processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "STATE", "CACHE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture
def s3_environ(s3_server: ServerUnderTest, monkeypatch: pytest.MonkeyPatch) -> ServerUnderTest:
    """`s3_server`, with its AWS_* variables set in this process for the length of the test."""
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(autouse=True)
def steady_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cursors do not blink, so that a picture is the same at any moment."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda self: None)


@pytest.fixture
def pictured(snapshot: SnapshotAssertion) -> Callable[..., None]:
    """Compares what an app shows with the picture of this test and name."""
    ours = snapshot.use_extension(TopLevelSVG)

    def compare(app: App[None], name: str = "") -> None:
        assert app.export_screenshot(simplify=True) == (ours(name=name) if name else ours)

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = tally(found for report in reports for found in report.user_properties)
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
