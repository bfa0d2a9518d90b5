"""Records of allocations that differ from the first reference in one slot: what a sweep measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rankadaptor.corpus.record import Record
    from rankadaptor.space import Space

SingleChanges = dict[int, dict[int, float]]
"""Value by slot and option."""


def read_single_changes(space: Space, records: Sequence[Record]) -> SingleChanges:
    """Return the value of records that differ from the first reference in one slot, by slot and option.

    Of several records of an allocation the one of highest fidelity counts.
    """
    origin = np.asarray(space.origin)
    fidelities: dict[tuple[int, int], float] = {}
    measured: SingleChanges = {}
    for record in records:
        if record.gain is None:
            continue
        choices = np.asarray(space.find_choices(record.values))
        changed = np.flatnonzero(choices != origin)
        if len(changed) != 1:
            continue
        slot, option = int(changed[0]), int(choices[changed[0]])
        if record.fidelity >= fidelities.get((slot, option), -1.0):
            fidelities[slot, option] = record.fidelity
            measured.setdefault(slot, {})[option] = max(-record.gain, 0.0)
    return measured
