"""Messages for faults of a run file: the given value, the allowed ones, and a suggestion."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

SECTION_HINT = "must be a section: keys with values, indented below it"
WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes if it looks like a number",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list, as in [1, 2]",
    "too_short": "must have at least {min_length} entries",
    "dict_type": "must be pairs, as in {{0: 8}}",
    "model_type": SECTION_HINT,
    "model_attributes_type": SECTION_HINT,
    "string_pattern_mismatch": "must start with a letter or digit and hold only letters, digits, dot, "
    "dash, underscore",
}


def list_keys(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return every dotted key of a run file and its field, sections before their keys."""
    keys: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        section = find_section(field.annotation)
        keys[f"{prefix}{name}"] = field
        if section is not None:
            keys |= list_keys(section, f"{prefix}{name}.")
    return keys


def find_section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field's annotation names, also inside `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := find_section(part))), None)
    return None


def suggest_key(unknown: str, keys: Mapping[str, Any]) -> str | None:
    """Return the known dotted key that was probably meant.

    The same section is searched first, then the whole file: by spelling, by initials (`lr`), by a part.
    """
    section, _, leaf = unknown.rpartition(".")
    near = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == section}
    far: dict[str, list[str]] = {}
    for key in keys:
        far.setdefault(key.rpartition(".")[2], []).append(key)
    if close := difflib.get_close_matches(leaf, near, n=1, cutoff=0.7):
        return near[close[0]]
    if close := difflib.get_close_matches(leaf, far, n=1, cutoff=0.8):
        return _nearest(unknown, far[close[0]])
    initials = [key for name, found in far.items() if _abbreviate(name) == leaf.lower() for key in found]
    if initials:
        return _nearest(unknown, initials)
    contained = [
        key for name, found in far.items() if len(leaf) > 3 and leaf.lower() in name for key in found
    ]
    return _nearest(unknown, contained) if contained else None


def describe_fault(error: ErrorDetails, *, keys: Mapping[str, FieldInfo]) -> tuple[str, str]:
    """Return the dotted key of one pydantic error and its description."""
    path = ".".join(str(part) for part in error["loc"] if part != "[key]")
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        meant = suggest_key(path, keys)
        if meant is not None:
            return path, f"unknown key; did you mean {meant}?"
        section = path.rpartition(".")[0]
        allowed = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == section]
        return path, f"unknown key. Allowed {f'in {section}' if section else 'here'}: {', '.join(allowed)}."
    if kind == "missing":
        entry = isinstance(error["loc"][-1], int)
        return (
            path,
            "missing; the list needs another entry." if entry else "missing; it has no default. Add it.",
        )
    if kind == "literal_error":
        allowed = [part.strip().strip("'") for part in context["expected"].replace(" or ", ", ").split(",")]
        meant_value = difflib.get_close_matches(str(given), allowed, n=1, cutoff=0.6)
        hint = f"; did you mean {meant_value[0]}?" if meant_value else "."
        return path, f"given {_show(given)}; allowed are {', '.join(allowed)}{hint}"
    if kind == "too_long":
        return path, f"given {_show(given)}; must have at most {context['max_length']} entries."
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        if path not in keys:  # an entry of a list, whose bounds the list's own key does not know
            return path, f"given {_show(given)}; {error['msg'][0].lower()}{error['msg'][1:]}."
        return path, f"given {_show(given)}; must be {_describe_range(keys[path])}."
    rule = WORDS.get(kind)
    text = rule.format(**context) if rule is not None else error["msg"][:1].lower() + error["msg"][1:]
    return path, f"given {_show(given)}; {text}."


def _describe_range(field: FieldInfo) -> str:
    """Describe both bounds of a number in words."""
    bounds = {}
    for constraint in field.metadata:
        for sign, words in (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most")):
            if (limit := getattr(constraint, sign, None)) is not None:
                bounds[sign] = f"{words} {limit:g}"
    return " and ".join(bounds[sign] for sign in ("gt", "ge", "lt", "le") if sign in bounds)


def _nearest(unknown: str, candidates: list[str]) -> str:
    def likeness(key: str) -> tuple[bool, float]:
        return key.count(".") == unknown.count("."), difflib.SequenceMatcher(None, unknown, key).ratio()

    return max(candidates, key=likeness)


def _abbreviate(name: str) -> str:
    return "".join(word[:1] for word in name.split("_")) if "_" in name else ""


def _show(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
