"""Basis functions of a slot's option: a few concave curves, all of them zero at the origin."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space import Space

Floats = NDArray[np.float64]

BASIS = ("log", "bend", "less", "emptied")
"""The first coordinate, which for sizes is a log-ratio to the origin; its square; the coordinate where it is
negative, so that what a slot loses and what it gains may weigh differently; and whether the slot has nothing
where the origin has a size of more than one. (Where the origin has one, nothing is the only step down, and
the first function has told it.)"""


@functools.lru_cache(maxsize=64)
def tabulate_basis(space: Space) -> Floats:
    """Return the basis functions by slot and choice, `(len(BASIS), n_slots, n_options)`.

    A table, because looking up is faster than computing them for a hundred thousand allocations.
    """
    log = space.tables.coordinates[0]
    size = np.array([slot.attribute("reference") for slot in space.slots])[:, None]
    emptied = np.where(size > 1.0, log == -np.log1p(size), 0.0)
    return np.stack([log, log**2, np.minimum(log, 0.0), emptied])
