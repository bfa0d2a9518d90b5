"""Linear features: descriptions of linears that have the same meaning in every model.

Slots of any granularity (linears, halves, blocks) are described by the linears they cover: a slot that spans
a block counts as its seven linears with one choice. The contribution of a linear is a function of its type,
its depth and what pruning removed from its block, and a slot contributes the sum over its linears. Slots that
use no resource with a limit have zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from rankadaptor.components.adapter.grouping import find_half
from rankadaptor.space import Slot, Space

Floats = NDArray[np.float64]

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Types of linears that most families have; other types have zeros in all of these columns."""
DEGREE = 3
USUAL_REFERENCE = 4.0
"""Mean size at the origin at which the columns of the budget are 0."""
ROUGHLY_NONE = 1e-6


@dataclass(frozen=True, eq=False)
class LinearFeatures:
    """Columns over slots; a column times a coordinate of the slots, summed, is a feature of an allocation.

    Attributes:
        names: One per column.
        families: Which columns belong together, one per column: the part of a name before the colon.
        matrix: `(n_slots, k)`; sums over the slots' linears, divided by the root of the number of linears.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    matrix: Floats

    def choose(self, families: Sequence[str]) -> LinearFeatures:
        """Return the columns of some families, in the families' order."""
        order = [index for family in families for index, each in enumerate(self.families) if each == family]
        return LinearFeatures(
            names=tuple(self.names[index] for index in order),
            families=tuple(self.families[index] for index in order),
            matrix=self.matrix[:, order],
        )


@functools.lru_cache(maxsize=64)
def describe_linear_features(space: Space) -> LinearFeatures:
    """Describe the slots of a space by linear features; the columns are the same for every space.

    - `total:all`: one;
    - `kind:<linear>`: one in the column of the linear's type;
    - `half:contrast`: 1 for attention, −1 for the MLP;
    - `depth:<n>`: Legendre polynomials of the depth, from −1 for the first block to 1 for the last;
    - `tilt:<n>`: the same, with the sign of the half;
    - `slope:<linear>`: depth in the column of the linear's type;
    - `edge:first`, `edge:last`: one in the first, or the last, block;
    - `damage:removed`, `damage:lost`: share of parameters, and of importance, that pruning removed from the
      block, minus the mean over the linears; `damage:intact`: one if the block was not pruned but others
      were;
    - `size:cost`: logarithm of the linear's cost per rank over the mean;
    - `budget:<linear>`: the `kind` columns times the logarithm of the mean size at the origin.
    """
    slots, modules = _list_linears(space)
    kinds = [name.rpartition(".")[2] for name in modules]
    contrast = np.array([1.0 if find_half(name) == "attention" else -1.0 for name in modules])
    depth = space.tables.depth.astype(np.float64)[slots]
    blocks = space.tables.blocks[slots]
    removed = np.array([slot.attribute("removed_share") for slot in space.slots])[slots]
    lost = np.array([slot.attribute("lost_importance") for slot in space.slots])[slots]
    intact = (removed < ROUGHLY_NONE) & bool((removed >= ROUGHLY_NONE).any())
    by_kind = {kind: np.array([each == kind for each in kinds], dtype=np.float64) for kind in KINDS}
    usual = [slot.attribute("reference") for slot in space.slots if _is_counted(space, slot)]
    budget = np.log(max(float(np.mean(usual)), 0.5) / USUAL_REFERENCE)
    columns: dict[str, Floats] = {"total:all": np.ones(len(modules)), "half:contrast": contrast}
    columns |= {f"kind:{kind}": column for kind, column in by_kind.items()}
    for degree in range(1, DEGREE + 1):
        columns[f"depth:{degree}"] = legendre.legval(depth, np.eye(DEGREE + 1)[degree])
        columns[f"tilt:{degree}"] = columns[f"depth:{degree}"] * contrast
    columns |= {f"slope:{kind}": column * depth for kind, column in by_kind.items()}
    columns["edge:first"] = (blocks == blocks.min()).astype(np.float64)
    columns["edge:last"] = (blocks == blocks.max()).astype(np.float64)
    columns["damage:removed"] = removed - removed.mean()
    columns["damage:lost"] = lost - lost.mean()
    columns["damage:intact"] = intact.astype(np.float64)
    columns["size:cost"] = _compare_costs(space, slots)
    columns |= {f"budget:{kind}": column * budget for kind, column in by_kind.items()}
    per_linear = np.stack([columns[name] for name in list_linear_features()], axis=1)
    matrix = np.zeros((space.n_slots, per_linear.shape[1]))
    np.add.at(matrix, slots, per_linear)
    return LinearFeatures(
        names=list_linear_features(),
        families=tuple(name.partition(":")[0] for name in list_linear_features()),
        matrix=matrix / np.sqrt(len(modules)),
    )


def list_linear_features() -> tuple[str, ...]:
    """Return the names of the columns, which are the same for every space."""
    degrees = [f"{family}:{degree}" for degree in range(1, DEGREE + 1) for family in ("depth", "tilt")]
    by_kind = {family: [f"{family}:{kind}" for kind in KINDS] for family in ("kind", "slope", "budget")}
    rest = ["edge:first", "edge:last", "damage:removed", "damage:lost", "damage:intact", "size:cost"]
    return (
        "total:all", "half:contrast", *by_kind["kind"], *degrees, *by_kind["slope"], *rest,
        *by_kind["budget"],
    )  # fmt: skip


def find_uncounted(space: Space) -> NDArray[np.bool_]:
    """Return whether each slot uses no resource with a limit, `(n_slots,)`."""
    return np.array([not _is_counted(space, slot) for slot in space.slots])


def _is_counted(space: Space, slot: Slot) -> bool:
    return any(any(slot.costs_in(limit.resource)) for limit in space.limits)


def count_linears(space: Space) -> NDArray[np.int64]:
    """Return how many linears each slot covers, `(n_slots,)`; 0 where no limit counts its options."""
    return np.bincount(_list_linears(space)[0], minlength=space.n_slots).astype(np.int64)


def _list_linears(space: Space) -> tuple[NDArray[np.int64], list[str]]:
    """Return each linear's slot and name; a slot without modules counts as one linear."""
    pairs = [
        (index, module)
        for index, slot in enumerate(space.slots)
        if _is_counted(space, slot)
        for module in (slot.modules or (f"{slot.name}.{slot.kind}",))
    ]
    return np.array([index for index, _ in pairs], dtype=np.int64), [module for _, module in pairs]


def _compare_costs(space: Space, slots: NDArray[np.int64]) -> Floats:
    """Return log(cost per unit of a linear's slot over the mean), `(n_linears,)`."""
    steps = np.array([slot.attribute("cost_per_unit", 1.0) for slot in space.slots])
    each = np.maximum(steps / np.maximum(count_linears(space), 1), 1e-9)[slots]
    compared: Floats = np.log(each / each.mean())
    return compared
