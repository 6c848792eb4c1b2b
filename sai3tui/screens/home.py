"""The runs that there are, newest first, and the ways to start another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import get_current_worker

from sai3tui.controller.reachability import AgentAnswer
from sai3tui.errors import Sai3Error
from sai3tui.results.reader import RunEntry
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.screens.comparison import ComparisonScreen
from sai3tui.screens.confirm import PathScreen
from sai3tui.screens.files import config_again
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.services import OpenConfig, OpenRun, RunDemo, Services
from sai3tui.terminal import is_served
from sai3tui.widgets.filter_box import FilterBox
from sai3tui.widgets.home_lists import ConfigList, KnownAgents, answer_look, short_path
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.run_list import RunList, card_lines, summary_look
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.text import clean, date_and_time
from sai3tui.widgets.text_rows import TextRows

NEWEST_FIRST = "newest first, figures of the stage that measured most"
EMPTY_HINT = (
    "",
    "  No runs here yet.",
    "",
    "  [d]   shows a whole run in a minute: a storage server and",
    "      two agents on this host, all gone afterwards",
    "  [n]   writes a configuration, starting from a small one",
    "  [o]   opens a configuration file",
    "",
    "  On every screen [f1] explains what has the focus, and [ctrl+p]",
    "  lists all that can be done.",
)


class HomeScreen(RoomScreen):
    """Lists the results directory; opens runs and configurations."""

    HELP = (
        "Home lists the runs whose results directories it finds, newest first. Open one to see its figures, run it "
        "again, or write a new configuration. space marks runs, c compares them with the oldest one. / shows "
        "only runs whose configuration, state, time or directory has all the words. Beside them are the "
        "configurations that were opened last, and the agents of agents.yaml with what they answer; enter on one "
        "says why it does not."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="home.new"),
        Binding("o", "open_config", "Open config", id="home.open_config"),
        Binding("r", "again", "Run again", id="home.again"),
        Binding("space", "mark", "Mark", id="home.mark"),
        Binding("c", "compare", "Compare", id="home.compare"),
        Binding("d", "demo", "Demo", show=False, id="home.demo"),
        Binding("slash", "filter", "Filter", show=False, id="home.filter"),
        Binding("escape", "unfilter", "All runs", show=False, id="home.unfilter"),
        Binding("f5", "reload", "Reload", show=False, id="home.reload"),
    ]

    def __init__(self, services: Services, recent: RecentConfigs) -> None:
        super().__init__()
        self._services = services
        self._recent = recent
        self._reports: dict[Path, RunReport] = {}
        self._runs: tuple[RunEntry, ...] = ()

    def body(self) -> Iterable[Widget]:
        yield Horizontal(
            Pane(
                "Runs", FilterBox(id="filter", compact=True, placeholder="filter"), RunList(id="runs"), id="runs-pane"
            ),
            Vertical(
                Pane("Selected run", TextRows(id="card"), id="card-pane"),
                Pane("Configurations", ConfigList(id="configs"), id="configs-pane"),
                Pane("Agents", KnownAgents(id="known"), id="known-pane"),
                id="home-side",
                classes="column",
            ),
            id="home",
            classes="row",
        )

    def on_mount(self) -> None:
        self.status.say(("runs in", "muted"), (short_path(self._services.results_root), "text"))
        self.query("#configs-pane, #known-pane").add_class("-none")
        self.query_one(RunList).focus()

    def on_screen_resume(self) -> None:
        self.action_reload()

    def action_reload(self) -> None:
        """Look again at all that is listed."""
        self._read_lists()
        self._ask_agents()

    @work(thread=True, exclusive=True, group="list")
    def _read_lists(self) -> None:
        """Read the results directory again."""
        runs = self._services.list_runs()
        configs = self._recent.existing()
        self.app.call_from_thread(self._show_runs, runs)
        self.app.call_from_thread(self._show_configs, configs)

    @work(thread=True, exclusive=True, group="agents")
    def _ask_agents(self) -> None:
        """Show the agents of the list, then what they answer."""
        worker = get_current_worker()
        try:
            known = self._services.known_agents()
            self.app.call_from_thread(self._show_agents, tuple(AgentAnswer(*each) for each in known.items()), "")
            if known:
                answers = self._services.ask_agents(known, lambda: worker.is_cancelled)
                if not worker.is_cancelled:
                    self.app.call_from_thread(self._show_agents, answers, "")
        except Sai3Error as error:
            self.app.call_from_thread(self._show_agents, (), error.message)

    def _show_configs(self, configs: tuple[Path, ...]) -> None:
        self.query_one(ConfigList).show(configs)
        self.query_one("#configs-pane").set_class(not configs, "-none")

    def _show_agents(self, answers: tuple[AgentAnswer, ...], problem: str) -> None:
        self.query_one(KnownAgents).show(answers, problem)
        pane = self.query_one("#known-pane", Pane)
        pane.set_class(not answers and not problem, "-none")
        silent = sum(1 for answer in answers if answer.problem)
        pane.retitle(("Agents", ""), (f"  {len(answers)}" if answers else "", "muted"), (_silent(silent), "bad"))

    def _show_runs(self, runs: tuple[RunEntry, ...]) -> None:
        self._runs = runs
        words = self.query_one("#filter", Input).value.lower().split()
        shown = tuple(run for run in runs if all(word in _said_of(run) for word in words))
        view = self.query_one(RunList)
        view.show(shown, ("", "  No run matches.") if words else EMPTY_HINT)
        pane = self.query_one("#runs-pane", Pane)
        count = f"  {len(shown)} of {len(runs)}" if words else f"  {len(runs)}"
        pane.retitle(("Runs", ""), (count if runs else "", "muted"))
        pane.corner((NEWEST_FIRST if runs else "", ""))
        self._show_card()
        self.refresh_bindings()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "runs":
            self._show_card()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        if event.view.id == "configs":
            self._edit_recent()
            return
        if event.view.id == "known":
            self._say_why()
            return
        run = self.query_one(RunList).current
        if run is None:
            return
        if run.problem:
            self.notify(f"{run.path}: {run.problem}", severity="warning", markup=False)
        else:
            self.post_message(OpenRun(run.path))

    def _edit_recent(self) -> None:
        config = self.query_one(ConfigList).current
        if config is not None:
            self.post_message(OpenConfig(config))

    def _say_why(self) -> None:
        answer = self.query_one(KnownAgents).current
        if answer is None:
            return
        run = f", with the run {answer.run_id}" if answer.run_id else ""
        said = answer.problem or f"{answer.name} at {answer.address}: {answer_look(answer).word}{run}"
        self.notify(clean(said), severity="warning" if answer.problem else "information", markup=False)

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
        if action == "mark":
            return bool(self._runs)
        return action != "demo" or not is_served()

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
        pane = self.query_one("#runs-pane", Pane)
        self.app.call_from_thread(pane.corner, (f"◌ reading {len(others) + 1} runs whole", "info"))
        try:
            comparison = self._services.compare(first.path, [run.path for run in others])
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.app.call_from_thread(self.app.push_screen, ComparisonScreen(comparison))
        finally:
            self.app.call_from_thread(pane.corner, (NEWEST_FIRST, ""))

    def action_demo(self) -> None:
        self.post_message(RunDemo())

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


def _silent(count: int) -> str:
    return f"  ✗ {count} without an answer" if count else ""
