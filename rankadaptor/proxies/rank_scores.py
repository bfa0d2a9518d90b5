"""Score tables of spaces of ranks, from scores of the rank-one terms of each module."""

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
    kind: str, space: Space, term_scores: Mapping[str, Sequence[float]], *, tokens: int = 0
) -> ScoreTable:
    """Return the score table whose option scores are sums over the modules of a slot.

    Args:
        kind: Name of the score.
        space: A space of ranks.
        term_scores: For each module the scores of its rank-one terms, in descending order. The score of rank
            r is the sum of the first r; further ranks add nothing.
        tokens: Tokens run through the model.

    Raises:
        InputError: If a module is missing.
    """
    if missing := [name for name in read_ranks(space.reference()) if name not in term_scores]:
        raise InputError(
            f"no scores for {missing[0]} ({len(missing)} missing). Measure the model of this space."
        )
    option_scores = []
    for slot in space.slots:
        if slot.component != RANK:  # scales have no score
            option_scores.append((0.0,) * len(slot.options))
            continue
        ranks = [int(option) for option in slot.options if isinstance(option, int)]
        total = np.zeros(ranks[-1] + 1)
        for name in slot.modules:
            terms = np.asarray(term_scores[name], dtype=float)[: ranks[-1]]
            grown = np.concatenate([[0.0], np.cumsum(terms)])
            total += np.pad(grown, (0, len(total) - len(grown)), mode="edge")
        option_scores.append(tuple(float(total[rank]) for rank in ranks))
    return ScoreTable(
        kind=kind,
        space=space.digest,
        options=tuple(slot.options for slot in space.slots),
        option_scores=tuple(option_scores),
        tokens=tokens,
    )
