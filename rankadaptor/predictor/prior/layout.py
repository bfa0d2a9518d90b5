"""The weights of the hierarchical model: those shared by all settings, and those of a single setting."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import (
    BASIS,
    count_linears,
    describe_linear_features,
    find_uncounted,
    tabulate_basis,
)
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.prior.slot_posterior import flatten_basis

if TYPE_CHECKING:
    from rankadaptor.space import Space

# Basis function → families of linear features: gain = Σ over linears of basis function · weight(features).
SHARED = {
    "log": ("total", "half", "kind", "depth", "tilt", "slope", "edge", "damage", "size", "budget"),
    "bend": ("total", "half", "kind", "depth"),
    "less": ("total", "half", "kind", "depth"),
    "emptied": ("total", "half", "kind"),
}
OWN = {"log": ("block", "slot", "uncounted"), "bend": ("block", "slot", "uncounted")}
"""Weights of a single setting, in addition to its deviation from every shared weight; `uncounted` are slots
that use no resource with a limit, which have no shared weights."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Design matrices of one space: from weights to coefficients of the slots' basis functions.

    Attributes:
        tables: Basis functions by slot and choice, `(k, n_slots, n_options)`.
        shared: `(k · n_slots, n_shared)`.
        own: `(k · n_slots, n_own)`.
        shared_families: Index into `list_families()` of each shared column, `(n_shared,)`.
        own_families: The same for each column of `own`, `(n_own,)`.
    """

    tables: Floats
    shared: Floats
    own: Floats
    shared_families: NDArray[np.int64]
    own_families: NDArray[np.int64]

    def build_rows(self, choices: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return features `(n, n_shared)` and `(n, n_own)` of choices `(n, n_slots)`."""
        rows = flatten_basis(self.tables, choices)
        return rows @ self.shared, rows @ self.own


def list_families() -> tuple[str, ...]:
    """Return the names of all families of weights, shared ones first."""
    pairs = [(family, function) for function, families in SHARED.items() for family in families]
    pairs += [(family, function) for function, families in OWN.items() for family in families]
    return tuple(f"{family}.{function}" for family, function in pairs)


def count_shared_families() -> int:
    """Return how many of `list_families()` are shared."""
    return sum(len(families) for families in SHARED.values())


@functools.lru_cache(maxsize=64)
def build_layout(space: Space) -> Layout:
    """Build the layout of a space."""
    features, names = describe_linear_features(space), list_families()
    linears = count_linears(space).astype(np.float64)
    unit = np.diag(linears / np.sqrt(linears.sum()))
    by_block = unit @ np.eye(int(space.tables.blocks.max()) + 1)[space.tables.blocks]
    uncounted = np.eye(space.n_slots)[:, find_uncounted(space)]
    matrices = {"block": by_block, "slot": unit, "uncounted": uncounted}
    shared, own, shared_families, own_families = [], [], [], []
    for function, families in SHARED.items():
        chosen = features.choose(families)
        shared.append(_place(chosen.matrix, function))
        shared_families += [names.index(f"{family}.{function}") for family in chosen.families]
    for function, families in OWN.items():
        for family in families:
            matrix = matrices[family]
            own.append(_place(matrix, function))
            own_families += [names.index(f"{family}.{function}")] * matrix.shape[1]
    return Layout(
        tables=tabulate_basis(space),
        shared=np.concatenate(shared, axis=1),
        own=np.concatenate(own, axis=1),
        shared_families=np.array(shared_families),
        own_families=np.array(own_families),
    )


def _place(matrix: Floats, function: str) -> Floats:
    """Place columns over slots `(n_slots, m)` in the rows of one basis function, `(k · n_slots, m)`."""
    placed = np.zeros((len(BASIS), *matrix.shape))
    placed[BASIS.index(function)] = matrix
    return placed.reshape(len(BASIS) * len(matrix), matrix.shape[1])
