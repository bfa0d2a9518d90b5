"""The reference optimum of a band: an evolution that spares no evaluation.

It begins with the best allocations measured before. Most offspring are scored on few tokens; the best of them
are scored on all, and the evolution goes on there. Every generation is drawn from the scores before it, so an
interrupted run repeats itself from its records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rankadaptor.corpus import Record
from rankadaptor.space import Allocation, Space
from rankadaptor.space.moves import breed, trade

Ints = NDArray[np.int64]
Measure = Callable[[Sequence[Allocation]], Sequence[Record]]
Scores = dict[tuple[int, ...], float]

PARENTS = 16
OFFSPRING = 64
TRADED = 0.75
"""Share of the offspring that are trades of one parent; the others mix two."""
FINALISTS = 0.25
"""Share of the evaluations on all tokens that go to the best on few."""


def find_optimum(
    space: Space,
    *,
    start: Sequence[tuple[int, ...]],
    few: Measure,
    whole: Measure,
    evaluations: tuple[int, int],
    seed: int,
) -> tuple[tuple[int, ...], float, list[tuple[int, ...]]]:
    """Search a space for the allocation of lowest divergence.

    Args:
        space: A space with limits.
        start: Choices inside the limits to begin with.
        few: Scores allocations on few tokens.
        whole: Scores allocations on all tokens.
        evaluations: How many are scored on few tokens and on all.
        seed: Of all draws.

    Returns:
        The best choices, their divergence on all tokens, and all that were scored on all tokens, the best
        first.
    """
    first = evolve(space, start, measure=few, evaluations=evaluations[0], seed=seed)
    best = sorted(first, key=lambda choices: first[choices])
    finalists = [*dict.fromkeys([*start[:PARENTS], *best[: round(FINALISTS * evaluations[1])]])]
    final = evolve(space, finalists, measure=whole, evaluations=evaluations[1], seed=seed + 1)
    ranked = sorted(final, key=lambda choices: final[choices])
    return ranked[0], final[ranked[0]], ranked


def evolve(
    space: Space, start: Sequence[tuple[int, ...]], *, measure: Measure, evaluations: int, seed: int
) -> Scores:
    """Score the start and offspring of the best, and return all divergences; failed ones are infinite."""
    scores: Scores = {}
    pending = [*dict.fromkeys(start)][:evaluations]
    turn = 0
    while pending:
        found = measure([Allocation(choices, space) for choices in pending])
        for choices, record in zip(pending, found, strict=True):
            scores[choices] = record.kl if record.status == "ok" and record.kl is not None else np.inf
        turn += 1
        room = min(OFFSPRING, evaluations - len(scores))
        pending = _draw(space, scores, seed=seed * 100_003 + turn)[:room] if room > 0 else []
    return scores


def _draw(space: Space, scores: Scores, *, seed: int) -> list[tuple[int, ...]]:
    ranked = sorted(scores, key=lambda choices: scores[choices])[:PARENTS]
    parents = np.asarray(ranked, dtype=np.int64)
    traded = round(TRADED * OFFSPRING)
    drawn = [
        *trade(space, parents, count=2 * traded, seed=seed).tolist(),
        *breed(space, parents, count=2 * (OFFSPRING - traded), seed=seed).tolist(),
    ]
    order = np.random.default_rng(seed).permutation(len(drawn))
    fresh = dict.fromkeys(tuple(drawn[place]) for place in order)
    return [choices for choices in fresh if choices not in scores][:OFFSPRING]
