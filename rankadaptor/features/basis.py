"""Basis functions of a slot's option, all of them zero at the origin."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space import Space

Floats = NDArray[np.float64]

BASIS = ("log", "bend", "less", "emptied")
"""`log`: the first coordinate, which for sizes is the log-ratio to the origin. `bend`: its square. `less`:
its negative part, so that losses and gains of size can have different weights. `emptied`: 1 where the slot
has size 0 and the origin has more than one. (Where the origin has size one, 0 is the only smaller size, and
`less` is enough.)"""


@functools.lru_cache(maxsize=64)
def tabulate_basis(space: Space) -> Floats:
    """Return the basis functions by slot and choice, `(len(BASIS), n_slots, n_options)`.

    A table, because a lookup is faster than computing them for a hundred thousand allocations.
    """
    log = space.tables.coordinates[0]
    size = np.array([slot.attribute("reference") for slot in space.slots])[:, None]
    emptied = np.where(size > 1.0, log == -np.log1p(size), 0.0)
    return np.stack([log, log**2, np.minimum(log, 0.0), emptied])
