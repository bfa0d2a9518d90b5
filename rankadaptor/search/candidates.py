"""Where proposals are looked for: all over the space, and around what has been good so far."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space import breed

if TYPE_CHECKING:
    from rankadaptor.space import Space

LOCAL_SHARE = 0.4


def draw_candidates(
    space: Space, *, count: int, parents: NDArray[np.int64], seen: Collection[tuple[int, ...]], seed: int
) -> NDArray[np.int64]:
    """Draw distinct allocations that have not been measured.

    Args:
        space: The space.
        count: Number of draws; fewer rows come back where draws repeat.
        parents: Good allocations, best first, shape `(n, n_slots)`; a part of the draws are their offspring.
        seen: Choices to leave out.
        seed: Seed of all draws.

    Returns:
        Choices, shape `(m, n_slots)` with m ≤ count.
    """
    local = int(count * LOCAL_SHARE) if len(parents) else 0
    parts = [space.sample_choices(count - local, seed)]
    if local:
        parts.append(breed(space, parents, count=local, seed=seed + 1))
    return drop_seen(np.concatenate(parts), seen)


def drop_seen(choices: NDArray[np.int64], seen: Collection[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the distinct rows of `choices` that are not in `seen`, in their order."""
    keys = compute_keys(choices)
    _, kept = np.unique(keys, return_index=True)
    if seen:
        measured = compute_keys(np.asarray(list(seen), dtype=np.int64).reshape(-1, choices.shape[1]))
        kept = kept[~np.isin(keys[kept], measured)]
    rows: NDArray[np.int64] = choices[np.sort(kept)]
    return rows


def compute_keys(choices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each row of `(n, n_slots)`, equal for equal rows.

    Different rows share one with a probability of about 2⁻⁶⁰; a candidate that is lost to it is no loss.
    """
    multipliers = np.random.default_rng(choices.shape[1]).integers(
        1 << 63, size=choices.shape[1], dtype=np.uint64
    ) * np.uint64(2) + np.uint64(1)
    keys: NDArray[np.uint64] = choices.astype(np.uint64) @ multipliers
    return keys
