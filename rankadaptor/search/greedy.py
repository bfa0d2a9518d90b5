"""An allocation from a table of scores, without measuring anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.features import ScoreTable
    from rankadaptor.space import Space

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def allocate_by_scores(space: Space, table: ScoreTable) -> Allocation:
    """Spend the limit where the score grows most per unit of cost, and use it up.

    Every slot starts at its smallest option; the step that adds most score per cost is taken until none
    fits. Then single exchanges, one slot a step down and another a step up, are made while they add score:
    they use what the greedy order left of the limit. Pinned slots keep their option,
    and slots without a cost in the limited resource that of the first reference.

    Raises:
        InputError: If the table was measured for another space, or the space has not exactly one limit.
    """
    if len(space.limits) != 1:
        raise InputError(f"{space}: scores are turned into an allocation under exactly one limit.")
    table.check_space(space)
    tables, columns = space.tables, space.tables.columns
    scores = np.zeros(tables.costs[0].shape)
    for row, of_slot in enumerate(table.option_scores):
        scores[row, : len(of_slot)], scores[row, len(of_slot) :] = of_slot, of_slot[-1]
    last = tables.n_options - 1

    def fill(choices: Ints) -> None:
        left = space.bounds[0] - int(tables.costs[0][columns, choices].sum())
        while True:
            step = _find_steps(space, choices)
            added = scores[columns, np.minimum(choices + 1, last)] - scores[columns, choices]
            rate = np.where((step > 0) & (step <= left), added / np.maximum(step, 1), -np.inf)
            best = int(np.argmax(rate))
            if np.isneginf(rate[best]):
                return
            choices[best] += 1
            left -= int(step[best])

    counted = tables.costs[0].max(axis=1) > 0
    choices = np.where(counted, tables.lowest, np.asarray(space.origin))
    fill(choices)
    for _ in range(scores.size):  # enough for any table that grows with the options; bounded for others
        if (exchange := _find_exchange(space, scores, choices)) is None:
            break
        down, up = exchange
        choices[down] -= 1
        choices[up] += 1
        fill(choices)
    return space.from_choices(choices.tolist())


def _find_steps(space: Space, choices: Ints) -> Ints:
    """Return the cost of one option more in each slot, `(n_slots,)`; 0 where there is none."""
    tables, columns = space.tables, space.tables.columns
    above = np.minimum(choices + 1, tables.highest)
    steps: Ints = tables.costs[0][columns, above] - tables.costs[0][columns, choices]
    return steps


def _find_exchange(space: Space, scores: Floats, choices: Ints) -> tuple[int, int] | None:
    """Return the pair (slot to lower, slot to raise) that adds most score, or None if no pair adds any."""
    tables, columns = space.tables, space.tables.columns
    last = scores.shape[1] - 1
    below = np.maximum(choices - 1, 0)
    now = scores[columns, choices]
    freed = tables.costs[0][columns, choices] - tables.costs[0][columns, below]
    lost = np.where((choices > tables.lowest) & (freed > 0), now - scores[columns, below], np.inf)
    added = scores[columns, np.minimum(choices + 1, last)] - now
    step = _find_steps(space, choices)
    left = space.bounds[0] - int(tables.costs[0][columns, choices].sum())
    fits = (step > 0) & (step <= left + freed[:, None])
    gain = np.where(fits, added[None, :] - lost[:, None], -np.inf)
    np.fill_diagonal(gain, -np.inf)
    down, up = np.unravel_index(int(np.argmax(gain)), gain.shape)
    smallest = 1e-12 * max(1.0, float(np.abs(now).max()))  # rounding alone must not turn in circles
    return (int(down), int(up)) if gain[down, up] > smallest else None
