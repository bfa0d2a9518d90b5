"""Generate candidate allocations: all over the space, and around the best so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space import breed
from rankadaptor.space.tables import compute_keys

if TYPE_CHECKING:
    from rankadaptor.predictor import Predictor
    from rankadaptor.space import Space

LOCAL_SHARE = 0.4
PARENTS = 8
ROUNDS = 4
SURVIVORS = 32


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


def climb(
    pool: NDArray[np.int64],
    rate: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    derive: Callable[[NDArray[np.int64], int], NDArray[np.int64]],
    *,
    seen: Collection[tuple[int, ...]],
) -> tuple[int, ...]:
    """Return the choices with the highest score, after some rounds of hill climbing.

    Args:
        pool: Candidates that have not been measured, `(n, n_slots)`, at least one.
        rate: Returns the scores `(n,)` of choices `(n, n_slots)`.
        derive: Returns candidates near the best ones in a round of that number, limits kept.
        seen: Choices to leave out.
    """
    scores = rate(pool)
    for number in range(ROUNDS):
        order = np.argsort(-scores, kind="stable")[:SURVIVORS]
        derived = drop_seen(derive(pool[order], number), seen)
        pool = np.concatenate([pool[order], derived])
        scores = np.concatenate([scores[order], rate(derived)])
    return tuple(int(choice) for choice in pool[int(np.argmax(scores))])


def choose_parents(
    space: Space, predictor: Predictor, measured: Sequence[tuple[int, ...]], *, first: bool
) -> NDArray[np.int64]:
    """Return measured allocations, those expected to gain most first, `(n, n_slots)`.

    Args:
        space: The space.
        predictor: Conditioned on the records.
        measured: Choices that were measured.
        first: Whether the first reference keeps the limits; it then is among them.
    """
    rows = np.asarray([*([space.origin] if first or not measured else []), *measured], dtype=np.int64)
    means = predictor.predict(space, rows).mean
    chosen: NDArray[np.int64] = rows[np.argsort(-means, kind="stable")[:PARENTS]]
    return chosen


def find_incumbent(
    space: Space, predictor: Predictor, measured: Sequence[tuple[int, ...]], *, floor: float | None
) -> float:
    """Return the largest expected gain of measured allocations, nats per token, and at least the floor.

    The floor is 0, the gain of the first reference, where this keeps the limits.
    """
    if not measured:
        return 0.0
    best = float(predictor.predict(space, np.asarray(measured, dtype=np.int64)).mean.max())
    return best if floor is None else max(floor, best)
