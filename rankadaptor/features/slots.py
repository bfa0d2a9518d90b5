"""Slots as numbers that mean the same in every space, for predictors that carry over between models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features.ranks import find_slot_half
from rankadaptor.space import Space

Floats = NDArray[np.float64]

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linears that most families have; a slot of another kind has zero in all of these columns."""

SLOT_FEATURES = (
    "depth", "depth_squared", "attention", "mlp", *(f"kind:{kind}" for kind in KINDS), "log_in_features",
    "log_out_features", "cost_share", "log_reference", "removed_share", "lost_importance", "pinned",
)  # fmt: skip


def slot_features(space: Space) -> Floats:
    """Describe every slot by the columns named in `SLOT_FEATURES`; all are of order one.

    - `depth` from −1 to 1 and its square;
    - `attention`, `mlp`: which half of a block it is in, ½ and ½ for a whole block;
    - `kind:…`: one in the column of the linear's type;
    - `log_in_features`, `log_out_features`: base-2 logarithm of the mean width, minus 10, divided by 4;
    - `cost_share`: cost at uniform as a share of the mean over slots, minus 1;
    - `log_reference`: log(1 + uniform rank);
    - `removed_share`, `lost_importance`: share of the block's prunable parameters, and of their importance,
      that pruning removed, 0 to 1; 0 where unknown;
    - `pinned`: 1 where the slot is not searched.

    Returns:
        `(n_slots, k)`.
    """
    depth = space.tables.depth.astype(np.float64)
    halves = np.array([find_slot_half(slot.kind, slot.modules) for slot in space.slots])
    attention = np.where(halves == "both", 0.5, halves == "attention")
    costs = np.array(
        [slot.cost(value) for slot, value in zip(space.slots, space.reference, strict=True)], dtype=np.float64
    )
    columns = [
        depth,
        depth**2,
        attention,
        1.0 - attention,
        *(np.array([slot.kind == kind for slot in space.slots], dtype=np.float64) for kind in KINDS),
        _scale_width(np.array([slot.attribute("in_features", 1024.0) for slot in space.slots])),
        _scale_width(np.array([slot.attribute("out_features", 1024.0) for slot in space.slots])),
        costs / max(float(costs.mean()), 1.0) - 1.0,
        np.log1p(np.array(space.reference, dtype=np.float64)),
        np.array([slot.attribute("removed_share") for slot in space.slots]),
        np.array([slot.attribute("lost_importance") for slot in space.slots]),
        np.array([slot.pinned is not None for slot in space.slots], dtype=np.float64),
    ]
    return np.stack(columns, axis=1)


def _scale_width(width: Floats) -> Floats:
    scaled: Floats = (np.log2(np.maximum(width, 1.0)) - 10.0) / 4.0
    return scaled
