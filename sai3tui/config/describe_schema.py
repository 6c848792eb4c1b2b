"""The language as JSON Schema, so that editors complete and check configuration files."""

from __future__ import annotations

import json

from sai3tui.config.language import LANGUAGE
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, blocks_below

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DIGITS = r"^[0-9][0-9,_ ]*$"
_SIZE = r"^[0-9][0-9,_ ]*(\.[0-9]+)? *[A-Za-z]*$"
_DURATION = r"^[0-9]"

Schema = dict[str, object]


def json_schema() -> Schema:
    """The schema of a configuration file."""
    blocks = blocks_below(LANGUAGE)
    definitions = {_name(block): _block(block) for block in blocks if block is not LANGUAGE}
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "sai3tui configuration",
        **_block(LANGUAGE),
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2) + "\n"


def _name(block: BlockSpec) -> str:
    return block.name.replace(" ", "_")


def _block(block: BlockSpec) -> Schema:
    properties: dict[str, object] = {}
    needed: list[Schema] = []
    for field in block.fields:
        described = _described(field, block)
        properties[field.name] = described
        for alias in field.aliases:
            older = {**described, "description": f"An older name of {field.name}.", "deprecated": True}
            properties[alias] = older
        if field.required:
            names = [*field.names, *([block.nested] if block.nested else [])]
            choices: list[object] = [{"required": [name]} for name in names]
            needed.append({"required": [field.name]} if len(choices) == 1 else {"anyOf": choices})
    if block.nested:
        properties[block.nested] = {
            "type": "object",
            "description": "Older files have the fields in here.",
            "deprecated": True,
        }
    made: Schema = {"type": "object", "description": block.text, "properties": properties}
    made["additionalProperties"] = False
    if needed:
        made["allOf"] = needed
    return made


def _described(field: Field, block: BlockSpec) -> Schema:
    text = field.text
    if field.only:
        text += f" Where {block.tag} is {' or '.join(field.only)}."
    if field.default:
        text += f" Default: {field.default}."
    return {**_value(field), "description": text.strip()}


def _value(field: Field) -> Schema:
    bounds: Schema = {}
    if field.least is not None:
        bounds["minimum"] = field.least
    if field.most is not None:
        bounds["maximum"] = field.most
    number: Schema = {"minimum": 0, **bounds}
    match field.kind:
        case Kind.COUNT:
            return {"type": ["integer", "string"], "pattern": _DIGITS, **number}
        case Kind.SIZE:
            return {"type": ["integer", "string"], "pattern": _SIZE, **number}
        case Kind.SIGNED_SIZE:
            return {"type": ["integer", "string"], "pattern": _SIZE, "minimum": -1}
        case Kind.SECONDS:
            return {"type": ["number", "string"], "pattern": _DURATION, **number}
        case Kind.NUMBER:
            return {"type": "number", **bounds}
        case Kind.QUANTITY:
            return {"type": ["number", "string"]}
        case Kind.BOOLEAN:
            return {"type": "boolean"}
        case Kind.TEXT:
            return {"type": ["string", "number", "boolean"]}
        case Kind.TEXTS:
            return {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
        case Kind.CHOICE:
            return _words(field)
        case Kind.BLOCK:
            return _reference(field)
        case Kind.BLOCKS:
            return {"type": "array", "items": _reference(field)}
        case Kind.WORD_OR_BLOCK:
            return {"anyOf": [_words(field), _reference(field)]}
        case Kind.TEXTS_OR_BLOCKS:
            return {"type": "array", "items": {"anyOf": [{"type": "string"}, _reference(field)]}}
        case Kind.SIZES:
            return {"anyOf": [{"type": ["integer", "string"], "pattern": _SIZE, "minimum": 1}, _reference(field)]}
        case Kind.IOPS:
            return {
                "anyOf": [
                    {"type": "integer"},
                    {"enum": ["max", "MAX", "unlimited"]},
                    {"type": "string", "pattern": _DIGITS},
                ]
            }
        case Kind.PROCESSES:
            return {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": ["auto", "single"]}]}
        case Kind.MAP:
            return {"type": "object"}
        case Kind.ANYTHING:
            return {}


def _words(field: Field) -> Schema:
    """The words as they are written today, and the spellings of older files."""
    older = {word.replace("_", "") for word in field.words} | {word for word, _ in field.other_words}
    older -= set(field.words)
    today: Schema = {"enum": list(field.words)}
    return {"anyOf": [today, {"enum": sorted(older), "deprecated": True}]} if older else today


def _reference(field: Field) -> Schema:
    if field.block is None:
        raise ValueError(f"{field.name} has no block")
    return {"$ref": f"#/$defs/{_name(field.block)}"}
