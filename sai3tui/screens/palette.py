"""The command palette: what can be done here and now, as "area: action"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from textual.app import App, SystemCommand
from textual.binding import ActiveBinding
from textual.screen import Screen

from sai3tui.theme import THEMES


def palette_commands(app: App[None], screen: Screen[object]) -> Iterator[SystemCommand]:
    """The keys that act on the screen now, and the themes."""
    seen: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or not binding.id or not binding.description or binding.id in seen:
            continue
        seen.add(binding.id)
        area = binding.id.partition(".")[0]
        title = f"{area}: {binding.description[:1].lower()}{binding.description[1:]}"
        yield SystemCommand(title, f"key {app.get_key_display(binding)}", _runs(app, active))
    for theme in THEMES:
        name = theme.name.removeprefix("sai3-")
        yield SystemCommand(f"view: {name} theme", "Change the colours", partial(setattr, app, "theme", theme.name))


def _runs(app: App[None], active: ActiveBinding) -> Callable[[], Awaitable[bool]]:
    node, action = active.node, active.binding.action

    async def run() -> bool:
        return await app.run_action(action, node)

    return run
