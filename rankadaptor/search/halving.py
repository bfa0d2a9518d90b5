"""Successive halving: many allocations measured briefly, the best of them again for longer, and so on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankadaptor.defaults import SEARCH
from rankadaptor.errors import InputError, RankAdaptorError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

Measure = Callable[[Sequence["Allocation"], int], Sequence["Record"]]
"""Measures allocations at so many steps, each paired with uniform at the same steps, in order."""


@dataclass(frozen=True)
class Rung:
    """All measurements of one length.

    Attributes:
        steps: Optimiser steps.
        records: One per allocation that came this far, failed ones included.
    """

    steps: int
    records: tuple[Record, ...]

    def to_json(self) -> dict[str, Any]:
        """Return steps, fidelity, and values and gain of every record, best first."""
        return {
            "steps": self.steps,
            "fidelity": self.records[0].fidelity,
            "records": [
                {"values": list(record.values), "gain": record.gain, "status": record.status}
                for record in rank_records(self.records)
            ],
        }


@dataclass(frozen=True)
class Halving:
    """The outcome of successive halving.

    Attributes:
        best: The allocation with the largest gain at the longest length that any run finished.
        rungs: From the shortest.
    """

    best: Allocation
    rungs: tuple[Rung, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of all rungs."""
        return tuple(record for rung in self.rungs for record in rung.records)


def halve(
    allocations: Sequence[Allocation], measure: Measure, *, rungs: Sequence[int], keep: float = SEARCH.keep
) -> Halving:
    """Measure all allocations at the first rung, the best share of them at the next, and so on [SHA]_.

    Gains are compared inside a rung only: every rung pairs its allocations with uniform at its own length.
    At least one allocation goes on. Failed runs never do.

    Args:
        allocations: Distinct allocations of one space.
        measure: Called once per rung.
        rungs: Optimiser steps, ascending.
        keep: Share that goes on to the next rung.

    Raises:
        InputError: If there is no allocation, the rungs do not ascend, or `keep` is not a share.
        RankAdaptorError: If every run of the first rung failed.
    """
    if not allocations or not rungs or any(a >= b for a, b in itertools.pairwise(rungs)):
        raise InputError(
            f"{len(allocations)} allocations, rungs={tuple(rungs)}: give at least one of each, and rungs "
            "that ascend, for example (8, 24, 72)."
        )
    if not 0.0 < keep < 1.0 or rungs[0] < 1:
        raise InputError(f"keep={keep}, rungs={tuple(rungs)}: keep lies between 0 and 1, rungs from 1 on.")
    by_values = {allocation.values: allocation for allocation in allocations}
    climbing = list(allocations)
    done: list[Rung] = []
    for steps in rungs:
        rung = Rung(steps, tuple(measure(climbing, steps)))
        survivors = [record for record in rank_records(rung.records) if record.gain is not None]
        done.append(rung)
        if not survivors:
            break
        kept = survivors[: max(1, math.floor(len(climbing) * keep))]
        climbing = [by_values[record.values] for record in kept]
    finished = [rung for rung in done if any(record.gain is not None for record in rung.records)]
    if not finished:
        raise RankAdaptorError(
            f"all {len(allocations)} fine-tunes of {rungs[0]} steps failed. Lower recipe.learning_rate, or "
            "let the run tune it."
        )
    return Halving(best=by_values[rank_records(finished[-1].records)[0].values], rungs=tuple(done))


def rank_records(records: Sequence[Record]) -> list[Record]:
    """Return records by falling gain, failed ones last."""
    return sorted(records, key=lambda record: -math.inf if record.gain is None else record.gain, reverse=True)
