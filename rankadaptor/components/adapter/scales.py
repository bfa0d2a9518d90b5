"""Slots of LoRA scales in addition to slots of ranks.

A scale costs no parameters. With Adam it acts on a linear like a learning rate of its own, and it is written
into PEFT's `alpha_pattern`, so that PEFT loads the adapter without this package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rankadaptor.components.adapter.coordinates import RANK, SCALE, compute_log_ratios
from rankadaptor.errors import InputError
from rankadaptor.space import Slot, Space

SCALES = (18, 25, 35, 50, 71, 100, 141, 200, 283, 400, 566)
"""Per cent of the recipe's scale, a factor of √2 apart."""
STANDARD = 100
THIRDS = 3
OF_RANKS = ("parameters_per_rank", "cost_per_unit", "reference")
"""Attributes of slots of ranks that do not apply to a scale."""


def make_scale_slot(
    *,
    name: str,
    modules: tuple[str, ...],
    sizes: tuple[int, ...],
    reference: int,
    block: int,
    kind: str,
    attributes: Mapping[str, float],
) -> Slot:
    """Return a slot whose options are per cent of the recipe's LoRA scale; it uses no resource."""
    return Slot(
        name=name,
        component=SCALE,
        modules=modules,
        options=sizes,
        costs=(),
        coordinates=compute_log_ratios(sizes, reference=reference),
        block=block,
        kind=kind,
        attributes=tuple(sorted(attributes.items())),
    )


def add_scales(space: Space, *, scales: Sequence[int] = SCALES, pin_ranks: bool = False) -> Space:
    """Add scale slots to a space of ranks: one per linear type, and one per third of the depth.

    A linear's factor is the product of both. Uniform has the recipe's own scale everywhere.

    Args:
        space: A space of ranks.
        scales: Per cent of the recipe's scale that may be chosen, 100 among them.
        pin_ranks: Hold every rank at uniform's, so that scales alone are searched.

    Raises:
        InputError: If the space has scales already, or 100 is not among `scales`.
    """
    if any(slot.component != RANK for slot in space.slots):
        raise InputError("this space chooses scales already. Widen a space of ranks.")
    if STANDARD not in scales:
        raise InputError(f"scales={tuple(scales)}: {STANDARD}, the recipe's own scale, must be among them.")
    menu = tuple(sorted(set(scales)))
    ranks = tuple(
        dataclasses.replace(slot, pinned=choice) if pin_ranks else slot
        for slot, choice in zip(space.slots, space.origin, strict=True)
    )
    groups: dict[tuple[str, int], list[str]] = {}
    last = max(slot.block for slot in space.slots)
    for slot in space.slots:
        third = min(THIRDS - 1, THIRDS * slot.block // (last + 1))
        for module in slot.modules:
            groups.setdefault((f"scale.{module.rpartition('.')[2]}", last // 2), []).append(module)
            groups.setdefault((f"scale.third{third + 1}", (2 * third + 1) * last // (2 * THIRDS)), []).append(
                module
            )
    kept = {module: slot for slot in space.slots for module in slot.modules}
    extra = tuple(
        make_scale_slot(
            name=name,
            modules=tuple(modules),
            sizes=menu,
            reference=STANDARD,
            block=block,
            kind=name if not name.startswith("scale.third") else "scale.third",
            attributes=_average([kept[module] for module in modules]),
        )
        for (name, block), modules in sorted(groups.items())
    )
    standard = tuple(menu.index(STANDARD) for _ in extra)
    return Space(
        slots=(*ranks, *extra),
        limits=space.limits,
        references=tuple((name, (*choices, *standard)) for name, choices in space.references),
        model=space.model,
    )


def _average(slots: Sequence[Slot]) -> dict[str, float]:
    names = sorted({name for slot in slots for name, _ in slot.attributes} - set(OF_RANKS))
    return {name: float(np.mean([slot.attribute(name) for slot in slots])) for name in names}
