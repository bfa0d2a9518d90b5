"""The coordinate of a rank or a scale: its logarithm relative to the reference, zero there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RANK, SCALE = "rank", "scale"
"""Components: a LoRA rank, and a LoRA scale in per cent of the recipe's."""


def compute_log_ratios(sizes: Sequence[int], *, reference: int) -> tuple[tuple[float, ...], ...]:
    """Return log(1 + size) minus log(1 + reference), a vector of one number for each option.

    The scale is logarithmic because recovery saturates with rank.
    """
    options = np.asarray(sizes, dtype=np.float64)
    ratios = np.log1p(options) - np.log1p(np.float64(reference))
    return tuple((ratio,) for ratio in ratios.tolist())
