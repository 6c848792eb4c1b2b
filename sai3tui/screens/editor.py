"""The configuration: text on the left, what it means on the right, what is wrong with it below."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import TextArea

from sai3tui.config.completion import complete
from sai3tui.config.convert import Conversion, convert_text
from sai3tui.config.problems import Level, Problem
from sai3tui.errors import ConfigError, ResourceError, Sai3Error, failure_of
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.screens.chooser import Choice, ChooserScreen
from sai3tui.screens.confirm import Answer, ConfirmScreen
from sai3tui.screens.difference import difference_screen
from sai3tui.screens.files import read_config, text_of, write_atomic
from sai3tui.screens.quick_fix import Fix, fix_of
from sai3tui.screens.recovery import Recovery
from sai3tui.screens.services import Checked, RunOrder, Services, StartRun
from sai3tui.screens.template_list import template_chooser, templates
from sai3tui.widgets.find_bar import FindBar, find_in, replace_all
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.plan_view import Document, plan_lines
from sai3tui.widgets.problem_list import ProblemList
from sai3tui.widgets.states import PROBLEM
from sai3tui.widgets.text import clean, plural
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.yaml_editor import YamlEditor

logger = logging.getLogger(__name__)

DEBOUNCE_S = 0.1
LOOK_S = 2.0
MOST_TOLD = 5


class EditorScreen(RoomScreen):
    """Edits one file. `on_disk` is what was read (None: the file does not exist yet); `text` may differ from it."""

    HELP = (
        "The configuration of a run. It is checked while you type: problems stand at their lines and in the list "
        "below; the plan on the right is what would happen, computed without contacting anything. f5 saves, checks "
        "agents and storage, and waits there for you to start. f2 puts in place what a problem offers, "
        "f3 converts a file of an older form, "
        "f4 opens the text in $VISUAL or $EDITOR. ctrl+n offers what can stand at the cursor, with what it means; "
        "ctrl+f finds and replaces, ctrl+t begins with a template, f6 shows what changed since the last run. What is "
        "not saved survives a crash."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="editor.save"),
        Binding("f5", "run", "Preflight", id="editor.run"),
        Binding("f8", "next_problem", "Next problem", id="editor.problem"),
        Binding("f2", "fix", "Fix", id="editor.fix"),
        Binding("f3", "convert", "Convert to the current form", show=False, id="editor.convert"),
        Binding("f4", "external", "$EDITOR", show=False, id="editor.external"),
        Binding("ctrl+n,ctrl+@", "complete", "Complete", id="editor.complete", priority=True),
        Binding("ctrl+f", "find", "Find, replace", show=False, id="editor.find", priority=True),
        Binding("ctrl+t", "template", "Template", show=False, id="editor.template", priority=True),
        Binding("f6", "difference", "Since the last run", show=False, id="editor.difference", priority=True),
        Binding("f9", "plan", "Plan", id="editor.plan"),
        Binding("escape", "back", "Back", id="editor.leave"),
    ]

    def __init__(
        self, services: Services, path: Path, text: str, on_disk: bytes | None, recovery: Recovery | None = None
    ) -> None:
        super().__init__()
        self._recovery = recovery
        self._services = services
        self._path = path
        self._on_disk = on_disk
        self._initial = text
        self._checked = Checked()
        self._checked_text: str | None = None
        self._plan: Document | None = None
        self._timer: Timer | None = None
        self._seen_on_disk: bytes | None = None
        self._fixable = False

    def body(self) -> Iterable[Widget]:
        yield Horizontal(
            Pane("Configuration", FindBar(id="find-bar"), YamlEditor(self._initial, id="yaml"), id="yaml-pane"),
            Pane("What will run", TextRows(id="plan"), id="plan-pane"),
            id="editor",
        )
        yield Pane("Problems", ProblemList(id="problems"), id="problems-pane")

    def on_mount(self) -> None:
        self._editor.focus()
        self._describe()
        self._check_soon(0)
        self.set_interval(LOOK_S, self._look_at_disk)
        if self._recovery is not None:
            self._offer_recovered(self._recovery)

    @work(group="recover", exclusive=True)
    async def _offer_recovered(self, recovery: Recovery) -> None:
        """Ask about what an earlier session typed and never saved."""
        text = await asyncio.to_thread(recovery.found)
        if text is None or text == self._initial:
            return
        question = ConfirmScreen(
            "Unsaved text was found",
            [f"{self._path} was edited before, and not saved.", "Taken back, it can be undone with ctrl+z."],
            [Answer("d", "discard it", "discard"), Answer("t", "take it back", "take")],
        )
        if await self.app.push_screen_wait(question) == "take":
            self._put(text)
        else:
            recovery.drop()

    def _put(self, text: str) -> None:
        """Replace all text, as one step that can be undone."""
        self._editor.replace(text, (0, 0), self._editor.document.end)

    @property
    def _editor(self) -> YamlEditor:
        return self.query_one(YamlEditor)

    @property
    def modified(self) -> bool:
        return self._on_disk is None or self._editor.text.encode() != self._on_disk

    @property
    def checked(self) -> bool:
        """Whether what stands in the editor has been checked."""
        return self._checked_text == self._editor.text

    # --- checking --------------------------------------------------------------------------------------------------

    def on_text_area_changed(self, _event: TextArea.Changed) -> None:
        self._check_soon(DEBOUNCE_S)
        self._describe()

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        self._say_where(event.selection.end)

    def _say_where(self, place: tuple[int, int]) -> None:
        """The place of the cursor in the corner, with what is wrong in its line: there is more room than behind it."""
        row, column = place
        found = min(self._editor.problems_at(row), key=lambda p: PROBLEM[p.level].rank, default=None)
        at = (f"{row + 1}:{column + 1}", "")
        pane = self.query_one("#yaml-pane", Pane)
        if found is None:
            pane.corner(at)
        else:
            look = PROBLEM[found.level]
            pane.corner((f"{look.glyph} {clean(found.message)}", look.role), ("  ", ""), at)
        fixable = self._fix_at(row) is not None
        if fixable != self._fixable:
            self._fixable = fixable
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        in_text = self.focused is None or isinstance(self.focused, YamlEditor)
        if action == "complete":
            return in_text
        if action == "next_problem":
            return bool(self._checked.problems) and in_text
        return action != "fix" or (self._fixable and in_text) or isinstance(self.focused, ProblemList)

    def _check_soon(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(max(0.001, delay), self._check)

    @work(exclusive=True, group="check")
    async def _check(self) -> None:
        text = self._editor.text
        self._show(text, await self._look(text))
        if self._recovery is not None and text != self._initial and self.modified:
            await asyncio.to_thread(self._recovery.keep, text)

    async def _look(self, text: str) -> Checked:
        """What is wrong with `text`, off the loop. A checker that fails itself is a problem like any other: whoever
        types must not lose what was typed."""
        try:
            return await asyncio.to_thread(self._services.check, text, str(self._path))
        except Exception as error:
            logger.exception("checking %s failed", self._path)
            message = f"cannot check this: {failure_of(error).sentence()}"
            return Checked((Problem(str(self._path), 1, 1, Level.ERROR, "internal", message, "this is our defect"),))

    def _show(self, text: str, checked: Checked) -> None:
        self._checked, self._checked_text = checked, text
        stale = ""
        if checked.plan is not None and not checked.errors:
            self._plan = checked.plan
        elif self._plan is not None:
            stale = f"The last valid plan; {plural(len(checked.errors), 'error')} to fix."
        self._editor.mark(checked.problems)
        problems = self.query_one(ProblemList)
        problems.show(checked.problems)
        self.query_one("#problems-pane", Pane).retitle(
            ("Problems", ""), (f"  {len(checked.problems)}" if checked.problems else "", "muted")
        )
        plan = self._plan
        self.query_one("#plan", TextRows).show(lambda width, palette: plan_lines(plan, stale, width, palette))
        self._describe()
        self._say_where(self._editor.cursor_location)
        self.refresh_bindings()

    def _describe(self) -> None:
        errors, warnings = len(self._checked.errors), len(self._checked.warnings)
        parts: list[tuple[str, str]] = [(str(self._path), "text")]
        if self._on_disk is None:
            parts.append(("◌ not saved yet", "warn"))
        elif self.modified:
            parts.append(("● modified", "warn"))
        if self._checked_text is not None:
            parts.append((f"✗ {plural(errors, 'error')}", "bad") if errors else ("✓ valid", "ok"))
            if warnings:
                parts.append((f"▲ {plural(warnings, 'warning')}", "warn"))
        self.status.say(*parts)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        if event.view.id == "problems":
            self._jump(self.query_one(ProblemList).problems[event.index])

    def action_next_problem(self) -> None:
        problems = sorted(self._checked.problems, key=lambda p: (p.line, p.column))
        row, column = self._editor.cursor_location
        self._jump(next((p for p in problems if (p.line - 1, p.column - 1) > (row, column)), problems[0]))

    def _jump(self, problem: Problem) -> None:
        row = min(max(0, problem.line - 1), self._editor.document.line_count - 1)
        self._editor.move_cursor((row, max(0, problem.column - 1)), center=True)
        self._editor.focus()
        view = self.query_one(ProblemList)
        if problem in view.problems:
            view.cursor = view.problems.index(problem)

    def action_fix(self) -> None:
        """Put in place what the problem at the cursor offers: that of the list, or the first on the editor's line."""
        listed = self.query_one(ProblemList)
        if listed.has_focus and listed.cursor < len(listed.problems):
            fix = fix_of(listed.problems[listed.cursor], self._editor.text)
        else:
            fix = self._fix_at(self._editor.cursor_location[0])
        if fix is None:
            self.notify("no problem here offers a fix", markup=False)
            return
        self._editor.replace(fix.text, (fix.line, fix.start), (fix.line, fix.end))

    def _fix_at(self, row: int) -> Fix | None:
        """The first fix that a problem in a line of the text offers."""
        asked = self._editor.problems_at(row)
        text = self._editor.text if asked else ""
        return next((found for problem in asked if (found := fix_of(problem, text)) is not None), None)

    @work(thread=True, exclusive=True, group="convert")
    def action_convert(self) -> None:
        """Write blocks of older forms as they are written today, in one step that can be undone."""
        text = self._editor.text
        try:
            conversion = convert_text(text, str(self._path))
        except ConfigError as error:
            self.notify(error.message, severity="error", markup=False)
            return
        if not conversion.changes:
            self.notify("this is the current form already", markup=False)
            return
        self.app.call_from_thread(self._take_converted, text, conversion)

    def _take_converted(self, before: str, conversion: Conversion) -> None:
        if self._editor.text == before:
            self._put(conversion.text)
            self.notify("\n".join(conversion.changes[:MOST_TOLD]), title="converted", markup=False)

    def action_external(self) -> None:
        """Edit the text in $VISUAL or $EDITOR; it comes back as one step that can be undone."""
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        try:
            with tempfile.TemporaryDirectory(prefix="sai3tui-") as directory:
                copy = Path(directory) / self._path.name
                write_atomic(copy, self._editor.text.encode())
                # Whatever repaints meanwhile would wait for the terminal for ever: nothing may.
                with self.app.suspend(), self.app.batch_update():
                    code = subprocess.run([*command, str(copy)], check=False).returncode
                if code:
                    raise ResourceError(f"{command[0]} ended with code {code}", hint="the text is as it was")
                text = text_of(read_config(copy), copy)
        except SuspendNotSupported:
            self.notify("another editor needs a terminal of its own", severity="warning", markup=False)
        except OSError as error:
            self.notify(f"cannot start {command[0]}: {error.strerror}", severity="error", markup=False)
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            if text != self._editor.text:
                self._put(text)

    # --- changing much at once -------------------------------------------------------------------------------------

    @work(group="complete", exclusive=True)
    async def action_complete(self) -> None:
        """Offer what can stand at the cursor, and put in what is chosen."""
        editor = self._editor
        row, column = editor.cursor_location
        found = complete(editor.text.split("\n"), row, column)
        if not found.suggestions:
            self.notify("nothing is known that could stand here", markup=False)
            return
        choices = [Choice(each.label, each, each.detail, each.text) for each in found.suggestions]
        title = f"In {found.where}"
        chosen = await self.app.push_screen_wait(ChooserScreen(title, choices, found.prefix))
        if chosen is not None:
            editor.replace(chosen.insert, (row, found.start), (row, column))

    def action_find(self) -> None:
        """Find, or replace, what is selected."""
        selected = self._editor.selected_text
        self.query_one(FindBar).open(selected if "\n" not in selected else "")

    def on_find_bar_asked(self, asked: FindBar.Asked) -> None:
        editor, bar = self._editor, self.query_one(FindBar)
        if asked.everywhere:
            count = replace_all(editor, asked.text, asked.replace or "")
            bar.say(f"{count} replaced")
            return
        if asked.replace is not None and editor.selected_text.lower() == asked.text.lower() and asked.text:
            editor.replace(asked.replace, *sorted(editor.selection))
        number, count = find_in(editor, asked.text, back=asked.back)
        bar.say(f"{number} of {count}" if count else "not found")

    def on_find_bar_closed(self, _event: FindBar.Closed) -> None:
        self._editor.focus()

    @work(group="template", exclusive=True)
    async def action_template(self) -> None:
        """Begin anew with a template; that can be undone."""
        name = await self.app.push_screen_wait(template_chooser())
        if name is not None:
            self._put(templates()[name])

    @work(group="difference", exclusive=True)
    async def action_difference(self) -> None:
        """What has changed since the last run of this configuration."""
        last = await asyncio.to_thread(self._services.last_config, self._path)
        if last is None:
            self.notify("no run of this configuration is known here", markup=False)
            return
        name, text = last
        self.app.push_screen(difference_screen(f"Since {name}", text, self._editor.text))

    @work(group="disk", exclusive=True)
    async def _look_at_disk(self) -> None:
        """Ask, once for each change, when somebody else has written the file."""
        if self._on_disk is None or not self.is_active:
            return
        try:
            there = await asyncio.to_thread(read_config, self._path)
        except Sai3Error:
            # It is gone or cannot be read: saving will say so.
            return
        # Somebody may be answering another question by now, that of saving included.
        if not self.is_active or there in (self._on_disk, self._seen_on_disk, self._editor.text.encode()):
            return
        self._seen_on_disk = there
        question = ConfirmScreen(
            "The file has changed on disk",
            [f"{self._path} was written by somebody else.", "Taken over, it can be undone with ctrl+z."],
            [Answer("t", "take it over", "take"), Answer("k", "keep what is here", "keep")],
        )
        if await self.app.push_screen_wait(question) == "take":
            try:
                self._put(text_of(there, self._path))
            except Sai3Error as error:
                self.notify(error.message, severity="error", markup=False)
            else:
                self._on_disk = there
                self._describe()

    # --- leaving ---------------------------------------------------------------------------------------------------

    async def _save(self) -> bool:
        """Write the file; asks before it replaces what somebody else wrote. Whether it was written."""
        data = self._editor.text.encode()
        try:
            there = await asyncio.to_thread(read_config, self._path) if self._path.exists() else None
            if there is not None and there not in (self._on_disk, data):
                self._seen_on_disk = there
                question = ConfirmScreen(
                    "Replace the file",
                    [f"{self._path} holds something else by now.", "Saving replaces it."],
                    [Answer("y", "replace it", "yes"), Answer("n", "keep it", "no")],
                )
                if await self.app.push_screen_wait(question) != "yes":
                    return False
            await asyncio.to_thread(write_atomic, self._path, data)
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
            return False
        self._on_disk = data
        self._forget_recovered()
        self._describe()
        return True

    def _forget_recovered(self) -> None:
        """What is saved, or was discarded, needs no recovery."""
        if self._timer is not None:
            self._timer.stop()
        if self._recovery is not None:
            self._recovery.drop()

    @work(group="save", exclusive=True)
    async def action_save(self) -> None:
        if await self._save():
            self.notify(f"saved {self._path}", markup=False)

    @work(group="save", exclusive=True)
    async def action_run(self) -> None:
        """Save, and check agents and storage; refused while there are errors."""
        text = self._editor.text
        checked = await self._look(text)
        self._show(text, checked)
        if checked.errors:
            first = min(checked.errors, key=lambda p: (p.line, p.column))
            self._jump(first)
            self.notify(f"line {first.line}: {first.message}", title="fix this first", severity="error", markup=False)
            return
        if self.modified and not await self._save():
            return
        self.post_message(StartRun(RunOrder(self._path, text.encode())))

    def action_plan(self) -> None:
        """The plan beside the text, or instead of it where there is little room."""
        self.toggle_class("-plan")

    @work(group="back", exclusive=True)
    async def action_back(self) -> None:
        if self._on_disk is not None and self.modified:
            question = ConfirmScreen(
                "Leave the editor",
                [f"{self._path} has changes that are not saved."],
                [Answer("s", "save", "save"), Answer("d", "discard", "discard"), Answer("n", "go on editing", "stay")],
            )
            answer = await self.app.push_screen_wait(question)
            if answer == "stay" or (answer == "save" and not await self._save()):
                return
            self._forget_recovered()
        self.dismiss()
