"""A space whose slots choose more than ranks: LoRA scales beside them, under the same budget.

A scale costs no parameters. Under Adam it acts on a linear much as a learning rate of its own would, and it
is written into PEFT's `alpha_pattern`, so the adapter stays plain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.space.slot import RANK, SCALE, Slot
from rankadaptor.space.space import Space

SCALES = (18, 25, 35, 50, 71, 100, 141, 200, 283, 400, 566)
"""Per cent of the recipe's scale, half an octave apart."""
STANDARD = 100
THIRDS = 3


def widen_space(space: Space, *, scales: Sequence[int] = SCALES, pin_ranks: bool = False) -> Space:
    """Add scale slots to a space of ranks: one per linear type, and one per third of the depth.

    A linear's factor is the product of both. Uniform has the recipe's own scale everywhere.

    Args:
        space: A space of ranks.
        scales: Per cent of the recipe's scale that may be chosen, 100 among them.
        pin_ranks: Hold every rank at uniform's, so that scales alone are searched.

    Raises:
        InputError: If the space has scales already, or 100 is not among `scales`.
    """
    if any(slot.role != RANK for slot in space.slots):
        raise InputError("this space chooses scales already. Widen a space of ranks.")
    if STANDARD not in scales:
        raise InputError(f"scales={tuple(scales)}: {STANDARD}, the recipe's own scale, must be among them.")
    menu = tuple(sorted(set(scales)))
    ranks = tuple(
        dataclasses.replace(slot, pinned=value) if pin_ranks else slot
        for slot, value in zip(space.slots, space.reference, strict=True)
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
        Slot(
            name=name,
            modules=tuple(modules),
            options=menu,
            costs=(0,) * len(menu),
            block=block,
            kind=name if not name.startswith("scale.third") else "scale.third",
            attributes=_average([kept[module] for module in modules]),
            role=SCALE,
        )
        for (name, block), modules in sorted(groups.items())
    )
    return Space(
        slots=(*ranks, *extra),
        budget=space.budget,
        reference=(*space.reference, *(STANDARD for _ in extra)),
        mode=space.mode,
        model=space.model,
    )


def _average(slots: Sequence[Slot]) -> tuple[tuple[str, float], ...]:
    names = sorted({name for slot in slots for name, _ in slot.attributes} - {"parameters_per_rank"})
    return tuple((name, float(np.mean([slot.attribute(name) for slot in slots]))) for name in names)
