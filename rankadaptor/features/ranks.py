"""Allocations as numbers, with uniform at zero.

What recovers well depends on *where* the rank went, hardly on single slots: within one setting a ridge on
the mean logarithm of the rank per linear type and per block ranks left-out allocations well, while the total
says nothing. The logarithm is there because twice the rank never brings twice the gain. Everything is
relative to the uniform reference, so uniform is the zero vector and a predictor without intercept says "no
gain" for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray

from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, Space
from rankadaptor.space.grouping import find_half

Floats = NDArray[np.float64]

DEPTHS = ("blocks", "polynomial")
DEGREE = 3
WIDEST = 1 << 16
"""Options below this have their logarithms looked up."""


def values_array(allocations: Sequence[Allocation | Sequence[int]]) -> NDArray[np.int64]:
    """Return allocations, or plain tuples of values, as integers `(n, n_slots)`."""
    rows = [
        allocation.values if isinstance(allocation, Allocation) else tuple(allocation)
        for allocation in allocations
    ]
    return np.asarray(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def log_ratios(space: Space, values: ArrayLike) -> Floats:
    """Return log(1 + rank) minus that of uniform, per slot `(n, n_slots)`: concave, and zero at uniform."""
    given = _check_values(space, values)
    largest = int(given.max(initial=0))
    ratios: Floats = np.log1p(np.arange(largest + 1)).take(given) if largest < WIDEST else np.log1p(given)
    ratios -= np.log1p(np.asarray(space.reference, dtype=np.float64))
    return ratios


def rank_features(
    space: Space, values: ArrayLike, *, depth: str = "blocks", ratios: Floats | None = None
) -> Floats:
    """Return features of allocations, zero at uniform.

    In order, with names from `feature_names`:

    - `kind:<kind>`: mean log-ratio of the slots of each kind, where the space has more than one;
    - `half:attention`, `half:mlp`: mean over each half of the blocks, where slots are finer than halves;
    - `block:<i>`: mean over the slots of each block (`depth="blocks"`), or `depth:1` … `depth:3`: mean of the
      log-ratio times a Legendre polynomial of depth, as many for a deep model as for a shallow one
      (`depth="polynomial"`);
    - `total:mean`: mean over all slots;
    - `total:cost`: cost relative to that of uniform, minus 1;
    - `total:lowest`: share of slots at their lowest option, minus that of uniform.

    Args:
        space: The space.
        values: `(n, n_slots)`.
        depth: `blocks` for predictors of one setting, `polynomial` for those that see several.
        ratios: `log_ratios` of the same values, where they are at hand already.

    Returns:
        `(n, d)`, as many columns as `feature_names` has names.

    Raises:
        InputError: If `depth` is unknown or the shape of `values` is wrong.
    """
    given = _check_values(space, values)
    if ratios is None:
        ratios = log_ratios(space, given)
    weights = _build_weights(space, depth=depth)[1]
    columns, _ = space.tables.find_choices(given)
    reference = np.asarray(space.reference, dtype=np.float64)
    lowest = space.tables.options[:, 0]
    uniform_cost = max(space.cost(space.reference), 1)
    cost = space.tables.sum_costs(columns) / uniform_cost - space.cost(space.reference) / uniform_cost
    starved = (given == lowest).mean(axis=1) - (reference == lowest).mean()
    return np.concatenate([ratios @ weights.T, cost[:, None], starved[:, None]], axis=1)


def feature_names(space: Space, *, depth: str = "blocks") -> list[str]:
    """Return the names of the columns of `rank_features`, in order."""
    return [*_build_weights(space, depth=depth)[0], "total:cost", "total:lowest"]


def _build_weights(space: Space, *, depth: str) -> tuple[list[str], Floats]:
    """Return names and rows of weights over slots, `(n_names, n_slots)`, of the features that are means."""
    if depth not in DEPTHS:
        raise InputError(f"depth={depth!r}: allowed are {', '.join(DEPTHS)}.")
    kinds = np.array([slot.kind for slot in space.slots])
    halves = np.array([find_slot_half(slot.kind, slot.modules) for slot in space.slots])
    blocks = np.array([slot.block for slot in space.slots])
    rows: list[tuple[str, Floats]] = []
    if len(set(kinds)) > 1:
        rows += [(f"kind:{kind}", 1.0 * (kinds == kind)) for kind in sorted(set(kinds))]
    if len(set(halves)) > 1 and set(kinds) != set(halves):
        rows += [(f"half:{half}", 1.0 * (halves == half)) for half in sorted(set(halves))]
    if depth == "blocks":
        rows += [(f"block:{block}", 1.0 * (blocks == block)) for block in np.unique(blocks)]
    else:
        position = space.tables.depth.astype(np.float64)
        for degree in range(1, DEGREE + 1):
            coefficients = np.eye(DEGREE + 1)[degree]
            rows.append((f"depth:{degree}", legendre.legval(position, coefficients)))
    rows.append(("total:mean", np.ones(len(kinds))))
    weights = [row / (row.sum() if name.partition(":")[0] != "depth" else row.size) for name, row in rows]
    return [name for name, _ in rows], np.array(weights, dtype=np.float64)


def find_slot_half(kind: str, modules: Sequence[str]) -> str:
    """Return `attention`, `mlp`, or `both` for a slot that spans a whole block."""
    if kind in ("attention", "mlp"):
        return kind
    halves = {find_half(module) for module in modules}
    return halves.pop() if len(halves) == 1 else "both"


def _check_values(space: Space, values: ArrayLike) -> NDArray[np.int64]:
    given = np.asarray(values).astype(np.int64, copy=False)
    if given.ndim != 2 or given.shape[1] != space.n_slots:
        raise InputError(
            f"values of shape {given.shape}; allowed is (n, {space.n_slots}), one column per slot. Make them "
            "with values_array(allocations)."
        )
    return given
