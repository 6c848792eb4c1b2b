"""The runs that there are, newest first, and the ways to start another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input

from sai3tui.errors import Sai3Error
from sai3tui.results.reader import RunEntry
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.screens.comparison import ComparisonScreen
from sai3tui.screens.confirm import PathScreen
from sai3tui.screens.files import config_again
from sai3tui.screens.services import OpenConfig, OpenRun, Services
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.run_list import RunList, card_lines, summary_look
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.text import date_and_time
from sai3tui.widgets.text_rows import TextRows

EMPTY_HINT = (
    "",
    "  No runs here yet.",
    "",
    "  [n]   writes a configuration, starting from a small one",
    "  [o]   opens a configuration file",
    "",
    "  To see a whole run in a minute, on this host alone, leave with [q]",
    "  and type [sai3tui demo].",
)


class HomeScreen(RoomScreen):
    """Lists the results directory; opens runs and configurations."""

    HELP = (
        "Home lists the runs whose results directories it finds, newest first. Open one to see its figures, run it "
        "again, or write a new configuration. space marks runs, c compares them with the oldest one. / shows "
        "only runs whose configuration, state, time or directory has all the words."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="home.new"),
        Binding("o", "open_config", "Open config", id="home.open_config"),
        Binding("r", "again", "Run again", id="home.again"),
        Binding("space", "mark", "Mark", id="home.mark"),
        Binding("c", "compare", "Compare", id="home.compare"),
        Binding("slash", "filter", "Filter", show=False, id="home.filter"),
        Binding("escape", "unfilter", "All runs", show=False, id="home.unfilter"),
        Binding("f5", "reload", "Reload", show=False, id="home.reload"),
    ]

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._reports: dict[Path, RunReport] = {}
        self._runs: tuple[RunEntry, ...] = ()

    def body(self) -> Iterable[Widget]:
        yield Horizontal(
            Pane("Runs", Input(id="filter", compact=True, placeholder="filter"), RunList(id="runs"), id="runs-pane"),
            Pane("Selected run", TextRows(id="card"), id="card-pane"),
            id="home",
        )

    def on_mount(self) -> None:
        self.status.say(("runs in", "muted"), (_short(self._services.results_root), "text"))
        self.query_one("#card", TextRows).can_focus = False
        self.query_one(RunList).focus()

    def on_screen_resume(self) -> None:
        self.action_reload()

    @work(thread=True, exclusive=True, group="list")
    def action_reload(self) -> None:
        """Read the results directory again."""
        runs = self._services.list_runs()
        self.app.call_from_thread(self._show_runs, runs)

    def _show_runs(self, runs: tuple[RunEntry, ...]) -> None:
        self._runs = runs
        words = self.query_one("#filter", Input).value.lower().split()
        shown = tuple(run for run in runs if all(word in _said_of(run) for word in words))
        view = self.query_one(RunList)
        view.show(shown, ("", "  No run matches.") if words else EMPTY_HINT)
        pane = self.query_one("#runs-pane", Pane)
        count = f"  {len(shown)} of {len(runs)}" if words else f"  {len(runs)}"
        pane.retitle(("Runs", ""), (count if runs else "", "muted"))
        pane.corner("newest first" if runs else "")
        self._show_card()
        self.refresh_bindings()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "runs":
            self._show_card()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        run = self.query_one(RunList).current
        if run is None:
            return
        if run.problem:
            self.notify(f"{run.path}: {run.problem}", severity="warning", markup=False)
        else:
            self.post_message(OpenRun(run.path))

    def _show_card(self) -> None:
        run = self.query_one(RunList).current
        report = self._reports.get(run.path) if run else None
        self.query_one("#card", TextRows).show(lambda width, palette: card_lines(run, report, width, palette))
        if run is not None and report is None and not run.problem:
            self._load(run.path)

    @work(thread=True, exclusive=True, group="card")
    def _load(self, path: Path) -> None:
        try:
            report = self._services.load_run(path)
        except Sai3Error:
            # The card then says only what the list knows; opening the run says why.
            return
        self.app.call_from_thread(self._keep, path, report)

    def _keep(self, path: Path, report: RunReport) -> None:
        self._reports = {path: report}
        run = self.query_one(RunList).current
        if run is not None and run.path == path:
            self._show_card()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "compare":
            return self.is_mounted and len(self.query_one(RunList).marked) >= 2
        if action == "again":
            run = self.query_one(RunList).current if self.is_mounted else None
            return run is not None and not run.problem
        return True

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.add_class("-open")
        box.focus()

    def action_unfilter(self) -> None:
        box = self.query_one("#filter", Input)
        box.value = ""
        box.remove_class("-open")
        self.query_one(RunList).focus()

    def on_input_changed(self, _event: Input.Changed) -> None:
        self._show_runs(self._runs)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.query_one(RunList).focus()

    def action_mark(self) -> None:
        self.query_one(RunList).toggle_mark()
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="open")
    def action_compare(self) -> None:
        """Compare the marked runs with the oldest of them."""
        first, *others = self.query_one(RunList).marked
        try:
            comparison = self._services.compare(first.path, [run.path for run in others])
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.app.call_from_thread(self.app.push_screen, ComparisonScreen(comparison))

    def action_new(self) -> None:
        self.post_message(OpenConfig(None))

    def action_open_config(self) -> None:
        def opened(path: str | None) -> None:
            if path:
                self.post_message(OpenConfig(Path(path).expanduser()))

        self.app.push_screen(PathScreen("Open a configuration"), opened)

    @work(thread=True, exclusive=True, group="again")
    def action_again(self) -> None:
        """Edit the configuration of the selected run."""
        run = self.query_one(RunList).current
        if run is None:
            return
        try:
            message = config_again(self._services.load_run(run.path))
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.post_message(message)


def _said_of(run: RunEntry) -> str:
    """What a filter looks into."""
    when = date_and_time(run.started_ns) if run.started_ns else ""
    return f"{run.config_name} {summary_look(run).word} {run.path.name} {when}".lower()


def _short(path: Path) -> str:
    """A path with ~ for the home directory."""
    try:
        return "~/" + str(path.resolve().relative_to(Path.home()))
    except ValueError:
        return str(path)
