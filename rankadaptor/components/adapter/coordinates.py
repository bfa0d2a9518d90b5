"""The coordinate of a rank or a scale: its logarithm relative to the reference, zero there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RANK, SCALE = "rank", "scale"
"""Components: a LoRA rank, and per cent of the recipe's LoRA scale."""


def compute_log_ratios(sizes: Sequence[int], *, reference: int) -> tuple[tuple[float, ...], ...]:
    """Return log(1 + size) minus that of the reference, one vector of one number an option.

    The logarithm is there because twice the rank never brings twice the gain.
    """
    options = np.asarray(sizes, dtype=np.float64)
    ratios = np.log1p(options) - np.log1p(np.float64(reference))
    return tuple((ratio,) for ratio in ratios.tolist())
