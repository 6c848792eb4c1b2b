"""The endpoints of a run: who gets how much, how slowly, with how many errors."""

from __future__ import annotations

from rich.text import Text

from sai3tui.controller.snapshot import EndpointView
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.text import NOTHING, clean, fit_path, millis, unit_for

COLUMNS = (
    Column("uri", "endpoint", 12, grow=True),
    Column("get", "GET", 6, right=True),
    Column("put", "PUT", 6, right=True),
    Column("ops", "ops/s", 7, right=True, need=2),
    Column("p99", "p99 ms", 6, right=True, need=1),
    Column("errors", "err", 4, right=True),
)


def short_uri(uri: str) -> str:
    """A URI without its scheme and last slash: what tells endpoints apart."""
    return clean(uri).split("://", 1)[-1].rstrip("/")


def endpoint_names(uris: tuple[str, ...]) -> dict[str, str]:
    """The shortest names that tell URIs apart: host and port, or else everything but the scheme."""
    hosts = {uri: short_uri(uri).split("/", 1)[0] for uri in uris}
    if all(hosts.values()) and len(set(hosts.values())) == len(uris):
        return hosts
    return {uri: short_uri(uri) for uri in uris}


def names_within(uris: tuple[str, ...], width: int) -> dict[str, str]:
    """Names for a column of `width` cells: without what all have in common, where the whole is too long."""
    names = endpoint_names(uris)
    if all(len(name) <= width for name in names.values()) or len(uris) < 2:
        return names
    parts = {uri: name.rpartition(":") for uri, name in names.items()}
    if any("/" in name for name in names.values()) or not all(colon for _, colon, _ in parts.values()):
        return names
    if len({port for _, _, port in parts.values()}) == 1:
        return {uri: host for uri, (host, _, _) in parts.items()}
    if len({host for host, _, _ in parts.values()}) == 1:
        return {uri: ":" + port for uri, (_, _, port) in parts.items()}
    return names


class EndpointTable(LineList):
    """The endpoints of a snapshot, in the order of the configuration."""

    HELP = "What each endpoint has served in this stage, on average, over all agents, with the p99 of its slowest kind."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._endpoints: tuple[EndpointView, ...] = ()

    def show(self, endpoints: tuple[EndpointView, ...]) -> None:
        """Show these endpoints."""
        self._endpoints = endpoints
        self.redraw()

    def _unit_peak(self) -> float:
        return max((max(e.get_bytes, e.put_bytes) for e in self._endpoints), default=0.0)

    @property
    def unit_name(self) -> str:
        """The unit of the columns GET and PUT."""
        return unit_for(self._unit_peak()).name

    def row_count(self) -> int:
        return len(self._endpoints)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("no endpoint has served anything yet", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        endpoint = self._endpoints[index]
        columns = fitting(COLUMNS, width)
        unit = unit_for(self._unit_peak())
        names = names_within(tuple(each.uri for each in self._endpoints), columns[0][1])
        cells = {
            "uri": (fit_path(names[endpoint.uri], columns[0][1]), palette.text),
            "get": (unit.show(endpoint.get_bytes) if endpoint.get_bytes else NOTHING, palette.get),
            "put": (unit.show(endpoint.put_bytes) if endpoint.put_bytes else NOTHING, palette.put),
            "ops": (f"{endpoint.ops:,.0f}" if endpoint.ops else NOTHING, palette.text),
            "p99": (millis(endpoint.p99_us), palette.text),
            "errors": (f"{endpoint.errors:,}", palette.bad if endpoint.errors else palette.muted),
        }
        return row_line(columns, cells)
