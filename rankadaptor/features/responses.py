"""How a slot may respond to its rank: a few concave curves, all of them zero at uniform."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space import Space

Floats = NDArray[np.float64]

RESPONSES = ("log", "bend", "less", "emptied")
"""Log-ratio to uniform; its square; the log-ratio where it is negative, so that what a slot loses and what it
gains may weigh differently; and whether the slot has nothing where uniform has more than one rank. (Where
uniform has one, nothing is the only step down, and the log-ratio has told it.)"""


@functools.lru_cache(maxsize=64)
def tabulate_responses(space: Space) -> Floats:
    """Return responses by slot and choice, `(responses, n_slots, n_options)`, in the order of `RESPONSES`.

    A table, because looking up is faster than taking logarithms of a hundred thousand allocations.
    """
    options = space.tables.options.astype(np.float64)
    reference = np.asarray(space.reference, dtype=np.float64)[:, None]
    log = np.log1p(options) - np.log1p(reference)
    emptied = np.where(reference > 1.0, options == 0.0, 0.0)
    return np.stack([log, log**2, np.minimum(log, 0.0), emptied])
