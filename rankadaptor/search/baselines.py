"""Random allocations, and records of allocations that were not measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankadaptor.corpus.record import KL, LOSS
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

ONLY_UNIFORM = (
    "this space holds no allocation but uniform inside its budget, so there is nothing to search. Use "
    "uniform, or give it finer slots (`slots: linear`) or a larger menu of ranks, some above uniform's."
)


def record_reference(space: Space) -> Record:
    """Return the first reference as a record of gain 0, as a template of records that were not measured."""
    from rankadaptor.corpus import Record

    return Record.of_fine_tune(
        setting="imagined",
        values=space.reference().values,
        seed=0,
        steps=1,
        fidelity=1.0,
        loss=0.0,
        loss_reference=0.0,
        parameters=0,
        tokens=0,
        seconds=0.0,
    )


def imagine_records(
    space: Space, records: Sequence[Record], choices: Sequence[Sequence[int]], gains: Sequence[float]
) -> list[Record]:
    """Return records of allocations that were not measured, as if they had these gains.

    Their other fields are those of the first usable record.
    """
    usable = (record for record in records if record.gain is not None)
    template = next(usable, None) or record_reference(space)
    return [
        dataclasses.replace(
            template,
            values=values,
            metrics={
                **template.metrics,
                LOSS: (template.loss_reference or 0.0) - float(gain),
                **({KL: -float(gain)} if KL in template.metrics else {}),
            },
            sequence_losses=None,
        )
        for values, gain in zip(space.read_labels(choices), gains, strict=True)
    ]


def draw_random(space: Space, count: int, *, seed: int) -> list[Allocation]:
    """Draw distinct allocations other than uniform; fewer than `count` only if the space hardly has more."""
    drawn = space.sample(count + 1, seed=seed)
    return [allocation for allocation in drawn if not allocation.is_reference][:count]


def check_choice(space: Space) -> None:
    """Check that there is something to choose.

    Raises:
        InputError: If the space seems to hold no allocation but uniform.
    """
    if not draw_random(space, 16, seed=0):
        raise InputError(ONLY_UNIFORM)
