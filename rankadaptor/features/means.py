"""Features of allocations: means of coordinates over kinds, halves and blocks, zero at the origin.

Gains depend on groups of slots more than on single ones: within one setting a ridge on the mean coordinate
per linear type and per block orders left-out allocations well, and the mean over all slots does not. All
features are relative to the origin of the space. The origin is the zero vector, so that a linear model
without intercept predicts a gain of 0 for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray

from rankadaptor.components.adapter.grouping import find_half
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DEPTHS = ("blocks", "polynomial")
DEGREE = 3


def choices_array(allocations: Sequence[Allocation]) -> Ints:
    """Return the choices of allocations, `(n, n_slots)`."""
    rows = [allocation.choices for allocation in allocations]
    return np.asarray(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def read_coordinates(space: Space, choices: ArrayLike) -> Floats:
    """Return the coordinates of each slot's option, `(n, n_coordinates · n_slots)`; zero at the origin.

    The first coordinates of all slots come first, then the second ones, and so on.
    """
    given = space.check_choices(choices)
    tables = space.tables
    places = given + tables.columns * tables.n_options
    return np.concatenate([table.ravel().take(places) for table in tables.coordinates], axis=1)


def mean_features(
    space: Space, choices: ArrayLike, *, depth: str = "blocks", coordinates: Floats | None = None
) -> Floats:
    """Return features of allocations, zero at the origin.

    In order, with names from `feature_names`:

    - `kind:<kind>`: mean coordinate of the slots of each kind, where the space has more than one;
    - `half:attention`, `half:mlp`: mean over each half of the blocks, where slots are finer than halves;
    - `block:<i>`: mean over the slots of each block (`depth="blocks"`), or `depth:1` … `depth:3`: mean of the
      coordinate times a Legendre polynomial of depth, with the same number of columns for every model
      (`depth="polynomial"`);
    - `total:mean`: mean over all slots;

    then the same of each further coordinate, with its number behind the name (`total:mean:2`), and

    - `total:cost`: cost in the first limited resource relative to that of the origin, minus 1;
    - `total:lowest`: share of slots at their first option, minus that of the origin.

    Args:
        space: The space.
        choices: `(n, n_slots)`.
        depth: `blocks` for predictors of one setting, `polynomial` for predictors of several.
        coordinates: `read_coordinates` of the same choices, if computed before.

    Returns:
        `(n, d)`, as many columns as `feature_names` has names.

    Raises:
        InputError: If `depth` is unknown or the shape of `choices` is wrong.
    """
    given = space.check_choices(choices)
    if coordinates is None:
        coordinates = read_coordinates(space, given)
    weights = _build_weights(space, depth=depth)[1]
    origin = np.asarray(space.origin, dtype=np.int64)
    reference_cost = space.tables.sum_costs(origin[None])[0] if space.limits else 0
    cost = (space.tables.sum_costs(given) if space.limits else np.zeros(len(given))) / max(reference_cost, 1)
    cost = cost - reference_cost / max(reference_cost, 1)
    lowest = (given == 0).mean(axis=1) - (origin == 0).mean()
    parts = np.split(coordinates, len(space.tables.coordinates), axis=1)
    return np.concatenate([*(part @ weights.T for part in parts), cost[:, None], lowest[:, None]], axis=1)


def feature_names(space: Space, *, depth: str = "blocks") -> list[str]:
    """Return the names of the columns of `mean_features`, in order."""
    means = _build_weights(space, depth=depth)[0]
    further = [f"{name}:{number}" for number in range(2, len(space.tables.coordinates) + 1) for name in means]
    return [*means, *further, "total:cost", "total:lowest"]


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
