"""The weights of the hierarchical model: which every setting shares, and which a setting has to itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import (
    RESPONSES,
    count_linears,
    describe_strengths,
    is_free,
    tabulate_responses,
)
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.slot_posterior import flatten_responses

if TYPE_CHECKING:
    from rankadaptor.space import Space

# Response to rank × what makes a linear's rank worth more: gain = Σ over linears of response · worth.
SHARED = {
    "log": ("total", "half", "kind", "depth", "tilt", "slope", "edge", "damage", "size", "budget"),
    "bend": ("total", "half", "kind", "depth"),
    "less": ("total", "half", "kind", "depth"),
    "emptied": ("total", "half", "kind"),
}
OWN = {"log": ("block", "slot", "free"), "bend": ("block", "slot", "free")}
"""What a setting may have to itself beside its own deviation of every shared weight; `free` are slots whose
options cost nothing, of which nothing is shared."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How weights act on the slots' responses in one space.

    Attributes:
        tables: Responses by slot and choice, `(responses, n_slots, n_options)`.
        shared: `(responses · n_slots, n_shared)`.
        own: `(responses · n_slots, n_own)`.
        shared_families: Index into `list_families()` of each shared column, `(n_shared,)`.
        own_families: The same of each own column, `(n_own,)`.
    """

    tables: Floats
    shared: Floats
    own: Floats
    shared_families: NDArray[np.int64]
    own_families: NDArray[np.int64]

    def build_rows(self, space: Space, values: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return features `(n, n_shared)` and `(n, n_own)` of options `(n, n_slots)`."""
        responses = flatten_responses(self.tables, space, values)
        return responses @ self.shared, responses @ self.own


def list_families() -> tuple[str, ...]:
    """Return the names of all families of weights, shared ones first."""
    pairs = [(family, response) for response, families in SHARED.items() for family in families]
    pairs += [(family, response) for response, families in OWN.items() for family in families]
    return tuple(f"{family}.{response}" for family, response in pairs)


def count_shared_families() -> int:
    """Return how many of `list_families()` are shared."""
    return sum(len(families) for families in SHARED.values())


def name_weights(space: Space) -> list[str]:
    """Return the names of the shared weights, the same for every space."""
    strengths = describe_strengths(space)
    return [
        f"{name}.{response}"
        for response, families in SHARED.items()
        for name in strengths.choose(families).names
    ]


@functools.lru_cache(maxsize=64)
def lay_out(space: Space) -> Layout:
    """Build the layout of a space."""
    strengths, names = describe_strengths(space), list_families()
    linears = count_linears(space).astype(np.float64)
    unit = np.diag(linears / np.sqrt(linears.sum()))
    by_block = unit @ np.eye(int(space.tables.blocks.max()) + 1)[space.tables.blocks]
    free = np.eye(space.n_slots)[:, [is_free(slot) for slot in space.slots]]
    matrices = {"block": by_block, "slot": unit, "free": free}
    shared, own, shared_families, own_families = [], [], [], []
    for response, families in SHARED.items():
        chosen = strengths.choose(families)
        shared.append(_place(chosen.matrix, response))
        shared_families += [names.index(f"{family}.{response}") for family in chosen.families]
    for response, families in OWN.items():
        for family in families:
            matrix = matrices[family]
            own.append(_place(matrix, response))
            own_families += [names.index(f"{family}.{response}")] * matrix.shape[1]
    return Layout(
        tables=tabulate_responses(space),
        shared=np.concatenate(shared, axis=1),
        own=np.concatenate(own, axis=1),
        shared_families=np.array(shared_families),
        own_families=np.array(own_families),
    )


def _place(matrix: Floats, response: str) -> Floats:
    """Put columns over slots `(n_slots, k)` where one response finds them, `(responses · n_slots, k)`."""
    placed = np.zeros((len(RESPONSES), *matrix.shape))
    placed[RESPONSES.index(response)] = matrix
    return placed.reshape(len(RESPONSES) * len(matrix), matrix.shape[1])
