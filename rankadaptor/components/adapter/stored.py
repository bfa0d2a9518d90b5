"""Spaces of ranks in files of schema 2 and of schema 1, which has only ranks and one budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankadaptor.components.adapter.coordinates import RANK
from rankadaptor.components.adapter.ranks import MODES, UNIFORM, make_rank_slot
from rankadaptor.components.adapter.reading import describe_budget, find_budget
from rankadaptor.components.adapter.scales import make_scale_slot
from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest
from rankadaptor.space import Limit, Slot, Space
from rankadaptor.space.allocation import SlotSpace
from rankadaptor.space.space import SCHEMA

FIRST = 1
LATER = ("cost_per_unit", "reference")
"""Attributes of slots of ranks that schema 1 does not have."""


def read_space(data: Any) -> Space:
    """Return a space from JSON of schema 1 or 2.

    Raises:
        InputError: If it is of another schema, or a field is missing or wrong.
        BudgetError: If uniform, in schema 1, exceeds the budget.
    """
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if schema not in (FIRST, SCHEMA):
        raise InputError(
            f"space of schema {schema!r}, this version reads {FIRST} and {SCHEMA}. Write it with to_json(), "
            "or install the version of rankadaptor that wrote it."
        )
    if schema == SCHEMA:
        return Space.from_json(data)
    try:
        mode, reference = str(data["mode"]), [int(value) for value in data["reference"]]
        if mode not in MODES:
            raise InputError(f"mode={mode!r}: allowed are {', '.join(MODES)}.")
        if len(reference) != len(data["slots"]):
            raise InputError(f"{len(reference)} values of reference for {len(data['slots'])} slots.")
        slots = tuple(
            _read_slot(slot, reference=value, mode=mode)
            for slot, value in zip(data["slots"], reference, strict=True)
        )
        origin = tuple(slot.find_choice(value) for slot, value in zip(slots, reference, strict=True))
        space = Space(
            slots=slots,
            limits=(Limit(MODES[mode], int(data["budget"])),),
            references=((UNIFORM, origin),),
            model=str(data.get("model", "")),
        )
        space.from_choices(origin)
        return space
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a space: {error!r}. It needs slots, budget, reference and mode.") from error


def _read_slot(data: Mapping[str, Any], *, reference: int, mode: str) -> Slot:
    common: dict[str, Any] = {
        "name": str(data["name"]),
        "modules": tuple(str(module) for module in data["modules"]),
        "sizes": tuple(int(option) for option in data["options"]),
        "reference": reference,
        "block": int(data["block"]),
        "kind": str(data["kind"]),
        "attributes": {str(key): float(value) for key, value in data.get("attributes", {}).items()},
    }
    if data.get("role", RANK) != RANK:
        return make_scale_slot(**common)
    return make_rank_slot(
        **common,
        limited=MODES[mode],
        costs=tuple(int(cost) for cost in data["costs"]),
        pinned=None if data.get("pinned") is None else int(data["pinned"]),
    )


def compute_first_digest(space: SlotSpace) -> str:
    """Return the digest of a space of ranks, with or without scales, in schema 1.

    It is part of the names of settings and checkpoints, so that measurements of earlier versions are found.
    It does not depend on the order of the limits.
    """
    limit, (budget, mode) = find_budget(space), describe_budget(space)
    others = {each.resource: each.bound for each in space.limits if each is not limit}
    slots = [
        {
            "name": slot.name,
            "modules": list(slot.modules),
            "options": list(slot.options),
            "costs": list(slot.costs_in(limit.resource)) if limit else [],
            "block": slot.block,
            "kind": slot.kind,
            "attributes": {name: value for name, value in slot.attributes if name not in LATER},
            "pinned": None if slot.pinned is None else slot.options[slot.pinned],
            **({} if slot.component == RANK else {"role": slot.component}),
        }
        for slot in space.slots
    ]
    reference = list(space.reference().values)
    content: dict[str, Any] = {
        "schema": FIRST,
        "model": space.model,
        "mode": mode,
        "budget": budget,
        "reference": reference,
        "slots": slots,
    }
    return compute_digest(content if not others else {**content, "limits": others})
