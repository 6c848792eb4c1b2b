"""docs/config.md and docs/compatibility.md, made from the tables of the language."""

from __future__ import annotations

from sai3tui.config.language import LANGUAGE
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status, blocks_below

_CONFIG_HEAD = """\
# The configuration file

Made by `make docs` from the tables that the loader reads; do not edit. `sai3tui schema` prints the same as JSON Schema,
for editors; `sai3tui validate FILE` checks a file, `sai3tui plan FILE` shows what it means, `sai3tui convert FILE`
brings an older one into the form below.

"""
_COMPATIBILITY_HEAD = """\
# Files of sai3-bench

Made by `make docs` from the tables that the loader reads; do not edit. sai3tui takes the predecessor's files as they
are. `sai3tui convert` rewrites them into the current form, but nothing requires it. For every field of the predecessor,
this says what sai3tui does with it.

- **Durations** are seconds, or a text with units, everywhere: `30`, `"30s"`, `"1m 30s"`, `"500ms"`, `"10m"`.
- **Sizes** are bytes, or a text with a unit, everywhere: `8MiB`, `"1,048,576"`, `1_000`, `1.5GB`.
- **Counts** may have separators everywhere: `1_000`, `"1,000,000"`, `250 000`.
- **Words** may be written in any case, with or without `_`: `best_effort`, `besteffort`.
- **Stages** may have their fields in a nested `config:`; a file without stages gets preflight, prepare, execute and
  cleanup, as far as it has something for them to do.
- **Unknown keys** are a warning with a suggestion, not silence; `sai3tui validate --strict` makes warnings errors.
- **Patterns** that prepare covers and that cannot match are an error before the run.
- **Features that do not exist** (`az://`, `gs://`, SSH, deployment, autotune) are accepted with one notice each.

"""


def config_page() -> str:
    """The text of docs/config.md."""
    parts = [_CONFIG_HEAD]
    for block in blocks_below(LANGUAGE):
        title = f"`{block.name}`" if block is not LANGUAGE else "The file"
        parts.append(f"## {title}\n\n{block.text}\n\n{_fields(block)}\n")
        if block.example:
            parts.append(f"```yaml\n{block.example}```\n\n")
    return "".join(parts).rstrip() + "\n"


def _fields(block: BlockSpec) -> str:
    rows = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for field in block.fields:
        default = "required" if field.required else field.default or "-"
        rows.append(f"| `{field.name}` | {_value(field)} | {default} | {_cell(_meaning(field, block)) or '-'} |")
    return "\n".join(rows) + "\n"


def _value(field: Field) -> str:
    words = ", ".join(f"`{word}`" for word in field.words)
    block = f"[{field.block.name}](#{field.block.name.replace(' ', '-')})" if field.block is not None else ""
    match field.kind:
        case Kind.CHOICE:
            return words
        case Kind.WORD_OR_BLOCK:
            return f"{words}, or {block}"
        case Kind.BLOCK:
            return block
        case Kind.BLOCKS:
            return f"list of {block}"
        case Kind.TEXTS_OR_BLOCKS:
            return f"list of texts or {block}"
        case Kind.SIZES:
            return f"size, or {block}"
        case _:
            return field.kind.value


def _meaning(field: Field, block: BlockSpec) -> str:
    parts = [field.text] if field.text else []
    if field.only:
        parts.append(f"Where `{block.tag}` is {' or '.join(f'`{word}`' for word in field.only)}.")
    if field.aliases:
        parts.append(f"Older: {', '.join(f'`{name}`' for name in field.aliases)}.")
    if field.status is Status.IGNORED:
        parts.append(f"*Changes nothing: {field.notice}.*" if field.notice else "*Changes nothing.*")
    if field.status is Status.LATER:
        parts.append("*Not acted on yet.*")
    if field.later_words:
        parts.append(f"*Not acted on yet: {', '.join(field.later_words)}.*")
    return " ".join(parts)


def compatibility_page() -> str:
    """The text of docs/compatibility.md."""
    parts = [_COMPATIBILITY_HEAD]
    added: list[str] = []
    for block in blocks_below(LANGUAGE):
        known = [field for field in block.fields if not field.ours]
        title = f"`{block.name}`" if block is not LANGUAGE else "The file"
        if known:
            rows = "\n".join(f"| {_names(field)} | {_cell(_treatment(field))} |" for field in known)
            parts.append(f"## {title}\n\n| field | what sai3tui does |\n|---|---|\n{rows}\n\n")
        ours = [f"`{field.name}`" for field in block.fields if field.ours]
        if ours:
            added.append(f"| {title} | {', '.join(ours)} |")
    parts.append("## What the predecessor does not know\n\n| block | fields |\n|---|---|\n" + "\n".join(added) + "\n")
    return "".join(parts)


def _names(field: Field) -> str:
    return ", ".join(f"`{name}`" for name in field.names)


def _treatment(field: Field) -> str:
    text = field.status.value
    if field.note:
        text += f"; {field.note}"
    if field.notice:
        text += f" but for a notice: {field.notice}"
    if field.later_words:
        text += f"; accepted with a notice and not acted on yet: {', '.join(f'`{word}`' for word in field.later_words)}"
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
