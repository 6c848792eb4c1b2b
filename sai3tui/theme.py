"""The themes, and the roles that colours play: screens and widgets name a role, never a colour.

The pair GET/PUT and the pair ok/bad stay apart for the three kinds of colour blindness; colour is never alone all the
same: a state is always a glyph, a word and a colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from textual.app import App
from textual.theme import Theme


@dataclass(frozen=True, slots=True)
class Palette:
    """One colour (`#rrggbb`) per role, for text that widgets draw themselves."""

    get: str
    put: str
    meta: str
    ok: str
    info: str
    warn: str
    bad: str
    muted: str
    faint: str
    text: str
    bright: str
    key: str

    @classmethod
    def of(cls, app: App[object]) -> Palette:
        """The palette of the theme that `app` shows now."""
        variables: Mapping[str, str] = app.theme_variables
        return cls(**{field.name: variables.get(f"role-{field.name}", "#888888") for field in fields(cls)})


DARK_ROLES = Palette(
    get="#56b4e9",
    put="#e69f00",
    meta="#c44dff",
    ok="#3fbf8f",
    info="#56b4e9",
    warn="#f0e442",
    bad="#ff7043",
    muted="#8a8f98",
    faint="#4a5058",
    text="#d5d8dc",
    bright="#ffffff",
    key="#f3d9a4",
)

LIGHT_ROLES = Palette(
    get="#0072b2",
    put="#9a5b00",
    meta="#8a1fc4",
    ok="#00704a",
    info="#0072b2",
    warn="#7a6400",
    bad="#b93a0c",
    muted="#5c636d",
    faint="#b4bac2",
    text="#22262b",
    bright="#000000",
    key="#7a4b00",
)


def _variables(roles: Palette, **others: str) -> dict[str, str]:
    named = {f"role-{field.name}": getattr(roles, field.name) for field in fields(roles)}
    return {
        **named,
        **others,
        "border": others["rule-focus"],
        "border-blurred": others["rule"],
    }


DARK = Theme(
    name="sai3-dark",
    primary=DARK_ROLES.info,
    secondary=DARK_ROLES.muted,
    accent=DARK_ROLES.key,
    warning=DARK_ROLES.warn,
    error=DARK_ROLES.bad,
    success=DARK_ROLES.ok,
    foreground=DARK_ROLES.text,
    background="#121212",
    surface="#121212",
    panel="#1b2026",
    dark=True,
    variables=_variables(
        DARK_ROLES,
        **{"bar": "#1d242b", "rule": "#39414a", "rule-focus": "#f3d9a4", "pick": "#26384a", "dim": "#1a1e23"},
    ),
)

LIGHT = Theme(
    name="sai3-light",
    primary=LIGHT_ROLES.info,
    secondary=LIGHT_ROLES.muted,
    accent=LIGHT_ROLES.key,
    warning=LIGHT_ROLES.warn,
    error=LIGHT_ROLES.bad,
    success=LIGHT_ROLES.ok,
    foreground=LIGHT_ROLES.text,
    background="#fafaf7",
    surface="#fafaf7",
    panel="#eeeeea",
    dark=False,
    variables=_variables(
        LIGHT_ROLES,
        **{"bar": "#e6e8e6", "rule": "#c3c8cc", "rule-focus": "#7a4b00", "pick": "#cfe3f2", "dim": "#f0f0ec"},
    ),
)

SIXTEEN_ROLES = Palette(
    get="#55ffff",
    put="#ffffff",
    meta="#ff55ff",
    ok="#55ff55",
    info="#55ffff",
    warn="#ffff55",
    bad="#ff5555",
    muted="#aaaaaa",
    faint="#555555",
    text="#aaaaaa",
    bright="#ffffff",
    key="#ffff55",
)
"""Colours of the 16 that every terminal has, exactly, so that none is made into another."""

SIXTEEN = Theme(
    name="sai3-16-colours",
    primary=SIXTEEN_ROLES.info,
    secondary=SIXTEEN_ROLES.muted,
    accent=SIXTEEN_ROLES.key,
    warning=SIXTEEN_ROLES.warn,
    error=SIXTEEN_ROLES.bad,
    success=SIXTEEN_ROLES.ok,
    foreground=SIXTEEN_ROLES.text,
    background="#000000",
    surface="#000000",
    panel="#000000",
    dark=True,
    variables=_variables(
        SIXTEEN_ROLES,
        **{"bar": "#000000", "rule": "#555555", "rule-focus": "#ffff55", "pick": "#0000aa", "dim": "#000000"},
    ),
)

GREY_ROLES = Palette(
    get="#c8c8c8",
    put="#9c9c9c",
    meta="#b0b0b0",
    ok="#a8a8a8",
    info="#b8b8b8",
    warn="#ffffff",
    bad="#ffffff",
    muted="#8e8e8e",
    faint="#505050",
    text="#d4d4d4",
    bright="#ffffff",
    key="#e0e0e0",
)
"""Greys by weight instead of those that colours would become: what is wrong is the brightest."""

GREY = Theme(
    name="sai3-no-colour",
    primary=GREY_ROLES.info,
    secondary=GREY_ROLES.muted,
    accent=GREY_ROLES.key,
    warning=GREY_ROLES.warn,
    error=GREY_ROLES.bad,
    success=GREY_ROLES.ok,
    foreground=GREY_ROLES.text,
    background="#121212",
    surface="#121212",
    panel="#1e1e1e",
    dark=True,
    variables=_variables(
        GREY_ROLES,
        **{"bar": "#232323", "rule": "#404040", "rule-focus": "#e0e0e0", "pick": "#363636", "dim": "#1d1d1d"},
    ),
)

THEMES = (DARK, LIGHT, SIXTEEN, GREY)
