"""A score table of a space of ranks, from the score of each rank-one term of each module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.components.adapter import RANK, read_ranks
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable

if TYPE_CHECKING:
    from rankadaptor.space import Space


def build_score_table(
    kind: str, space: Space, worth_by_module: Mapping[str, Sequence[float]], *, tokens: int = 0
) -> ScoreTable:
    """Add the modules of each slot up.

    Args:
        kind: Name of the score.
        space: Its slots share one rank among their modules.
        worth_by_module: For each module the worth of each of its rank-one terms, the best first; a rank's
            worth is the sum of the first ones. Ranks beyond the end add nothing.
        tokens: Tokens run through the model.

    Raises:
        InputError: If a module is missing.
    """
    if missing := [name for name in read_ranks(space.reference()) if name not in worth_by_module]:
        raise InputError(f"no scores for {missing[0]} ({len(missing)} missing). Measure this very model.")
    worths = []
    for slot in space.slots:
        if slot.component != RANK:  # a score of ranks has no opinion on scales
            worths.append((0.0,) * len(slot.options))
            continue
        ranks = [int(option) for option in slot.options if isinstance(option, int)]
        total = np.zeros(ranks[-1] + 1)
        for name in slot.modules:
            terms = np.asarray(worth_by_module[name], dtype=float)[: ranks[-1]]
            grown = np.concatenate([[0.0], np.cumsum(terms)])
            total += np.pad(grown, (0, len(total) - len(grown)), mode="edge")
        worths.append(tuple(float(total[rank]) for rank in ranks))
    return ScoreTable(
        kind=kind,
        space=space.digest,
        options=tuple(slot.options for slot in space.slots),
        worths=tuple(worths),
        tokens=tokens,
    )
