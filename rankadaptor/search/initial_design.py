"""The first allocations of a search whose predictor knows nothing yet."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import mean_features, read_coordinates
from rankadaptor.search.candidates import drop_seen

if TYPE_CHECKING:
    from rankadaptor.space import Space

POOL = 256
NEAR_SHARE = 0.5


def spread_out(
    space: Space,
    measured: NDArray[np.int64],
    *,
    seen: Collection[tuple[int, ...]],
    count: int,
    seed: int,
) -> list[tuple[int, ...]]:
    """Draw allocations that were not seen and choose the ones farthest apart; see `choose_apart`."""
    pool = drop_seen(space.sample_choices(POOL, seed), seen)
    return [tuple(row) for row in choose_apart(space, pool, measured, count=count).tolist()]


def choose_apart(
    space: Space, candidates: NDArray[np.int64], measured: NDArray[np.int64], *, count: int
) -> NDArray[np.int64]:
    """Choose candidates one by one, each as far as possible from the origin, the measured and the chosen.

    Distances count every slot, kind and block by the coordinates of its option. The half of the
    candidates that is farthest from the origin is left out: extreme allocations mostly show that very small
    options lose much, which is known.

    Args:
        space: The space.
        candidates: Choices, shape `(n, n_slots)`.
        measured: Choices measured before, shape `(m, n_slots)`.
        count: Number to choose.

    Returns:
        Choices, shape `(≤ count, n_slots)`.
    """
    origin = np.asarray(space.origin)[None]
    rows = _describe(space, np.concatenate([candidates, measured.reshape(-1, space.n_slots), origin]))
    size = np.sqrt(np.mean(rows**2, axis=0))
    rows = rows / np.where(size > 0.0, size, 1.0)
    points, others = rows[: len(candidates)], rows[len(candidates) :]
    from_origin = np.linalg.norm(points - others[-1], axis=1)
    near = (
        from_origin <= np.quantile(from_origin, NEAR_SHARE)
        if len(points) > 2 * count
        else np.full(len(points), True)
    )
    gap = np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1)
    gap[~near] = -1.0
    chosen: list[int] = []
    for _ in range(min(count, int(near.sum()))):
        chosen.append(int(np.argmax(gap)))
        gap = np.where(gap < 0.0, gap, np.minimum(gap, np.linalg.norm(points - points[chosen[-1]], axis=1)))
        gap[chosen[-1]] = -1.0
    return candidates[chosen]


def _describe(space: Space, choices: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.concatenate([read_coordinates(space, choices), mean_features(space, choices)], axis=1)
