"""Globs over keys, and what can be said of a whole set of keys without making them.

`*` and `**` match anything, `/` included; `**/` also matches nothing, so that `a/**/b` covers `a/b`. A path that ends
in `/` names what stands directly below it, any other one exactly one key.

A set of keys is described by templates: texts in which `NUMBER` and `HEX` stand for runs of digits that differ per key.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from itertools import product

NUMBER = "\0"
"""One run of decimal digits in a template."""
HEX = "\1"
"""One run of lower-case hexadecimal digits in a template."""

_MAX_VARIANTS = 16
_VARYING = re.compile(f"[{NUMBER}{HEX}]")
_DIGITS = {NUMBER: frozenset("0123456789"), HEX: frozenset("0123456789abcdef")}


class PathKind(StrEnum):
    EXACT = "exact"
    LEVEL = "level"
    GLOB = "glob"


def kind_of(pattern: str) -> PathKind:
    if "*" in pattern:
        return PathKind.GLOB
    return PathKind.LEVEL if not pattern or pattern.endswith("/") else PathKind.EXACT


def literal_prefix(pattern: str) -> str:
    """What every key that matches begins with."""
    return pattern.partition("*")[0]


def list_prefix(pattern: str) -> str:
    """The directory to list in order to find what matches: up to the last `/` before the first `*`."""
    literal = literal_prefix(pattern)
    return literal[: literal.rfind("/") + 1]


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression whose `fullmatch` says whether a key matches."""
    if kind_of(pattern) is PathKind.LEVEL:
        return re.compile(re.escape(pattern) + r"[^/]+", re.DOTALL)
    tokens = _merged(_tokens(pattern))
    special = {"**/": "(?:.*?/)??", "*": ".*?"}
    pieces = []
    for place, token in enumerate(tokens):
        if token in special:
            continue
        wildcard = special.get(tokens[place - 1], "") if place else ""
        piece = wildcard + re.escape(token)
        # The first place where a text between stars is found is as good as any, so there is no way back from it:
        # without that a few dozen stars would take for ever. Only the last text is bound to the end.
        pieces.append(f"(?>{piece})" if wildcard and place < len(tokens) - 1 else piece)
    if tokens[-1] in special:
        pieces.append(".*" if tokens[-1] == "*" else "(?:.*/)?")
    return re.compile("".join(pieces), re.DOTALL)


def _merged(tokens: list[str]) -> list[str]:
    """`tokens` with neighbouring wildcards as one that means the same, and neighbouring texts joined."""
    merged: list[str] = []
    for token in tokens:
        if not merged:
            merged.append(token)
        elif token in ("*", "**/") and merged[-1] in ("*", "**/"):
            merged[-1] = "*" if "*" in (token, merged[-1]) else "**/"
        elif token not in ("*", "**/") and merged[-1] not in ("*", "**/"):
            merged[-1] += token
        else:
            merged.append(token)
    return merged


def matches_all(pattern: str, template: str) -> bool:
    """Whether every key of `template` matches for sure: its numbers meet nothing but stars."""
    return compile_pattern(pattern).fullmatch(template) is not None


@lru_cache(maxsize=1024)
def may_match(pattern: str, template: str) -> bool:
    """Whether some key of `template` could match, if its numbers could be any digits."""
    begins, fixed = literal_prefix(pattern), _VARYING.split(template, maxsplit=1)[0]
    if not (begins.startswith(fixed) or fixed.startswith(begins)):
        return False
    if kind_of(pattern) is PathKind.LEVEL:
        prefix = literal_prefix(pattern)
        return any(
            template[cut - 1 : cut] in ("/", "") and "/" not in template[cut:] and _meet(prefix, template[:cut])
            for cut in range(len(template))
        )
    tokens = _tokens(pattern)
    choices = [("", "*/") if token == "**/" else (token,) for token in tokens]
    if 2 ** tokens.count("**/") > _MAX_VARIANTS:
        choices = [("*",) if token == "**/" else (token,) for token in tokens]
    return any(_meet("".join(variant), template) for variant in product(*choices))


def _tokens(pattern: str) -> list[str]:
    """`*`, `**/` (where it begins a path component) and literal texts; other runs of stars are one star."""
    tokens: list[str] = []
    for part in re.findall(r"\*+/?|[^*]+", pattern):
        begins = not tokens or tokens[-1].endswith("/")
        if part.startswith("*"):
            stars = part.rstrip("/")
            if part.endswith("/") and len(stars) > 1 and begins:
                tokens.append("**/")
                continue
            tokens.append("*")
            if part.endswith("/"):
                tokens.append("/")
        else:
            tokens.append(part)
    return tokens


@lru_cache(maxsize=1024)
def _meet(glob: str, template: str) -> bool:
    """Whether a text exists that both describe; `*` in `glob` is anything, a number in `template` one digit or more.

    Walks the pairs of places in both texts that can be reached together: at most len(glob) * len(template) of them.
    """
    seen: set[tuple[int, int, bool]] = set()
    # the flag says that we are inside a number that has had its first digit
    todo = [(0, 0, False)]
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        g, t, inside = state
        if inside:
            todo.append((g, t + 1, False))
        if g == len(glob) and t == len(template):
            return True
        star = g < len(glob) and glob[g] == "*"
        if star:
            todo.append((g + 1, t, inside))
        if t == len(template) or g == len(glob):
            continue
        digits = _DIGITS.get(template[t])
        if digits is not None:
            if star or glob[g] in digits:
                todo.append((g if star else g + 1, t, True))
        elif not inside and (star or glob[g] == template[t]):
            todo.append((g if star else g + 1, t + 1, False))
    return False
