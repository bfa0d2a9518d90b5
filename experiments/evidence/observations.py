"""The paired gains of one setting at one length, as a matrix of allocations and seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus
    from rankadaptor.space import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gains:
    """Paired gains at one length, without uniform, whose gain is zero by definition.

    Attributes:
        space: The setting's space.
        steps: Optimiser steps of every run.
        tokens: Tokens trained on, median over runs.
        values: `(n, n_slots)`, one row per distinct allocation.
        seeds: `(k,)`, ascending.
        gains: `(n, k)`, loss of uniform minus loss under the same seed in nats per token; NaN where not
            measured.
        loss_uniform: Mean loss of uniform over the seeds, nats per token.
        failed: Number of failed runs at this length, not counted above.
    """

    space: Space
    steps: int
    tokens: int
    values: Ints
    seeds: Ints
    gains: Floats
    loss_uniform: float | None
    failed: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def screen(self) -> int:
        """Column of the screening seed: the lowest of those under which most allocations were measured."""
        return int(np.argmax(np.isfinite(self.gains).sum(axis=0))) if self.gains.size else 0

    @property
    def screened(self) -> NDArray[np.bool_]:
        """`(n,)`, whether the allocation was measured under the screening seed."""
        return np.isfinite(self.gains[:, self.screen]) if self.gains.size else np.zeros(len(self), dtype=bool)

    @property
    def screened_gains(self) -> Floats:
        """Gains under the screening seed of the allocations measured there."""
        column: Floats = self.gains[self.screened, self.screen]
        return column


def list_lengths(corpus: Corpus, setting: str) -> list[int]:
    """Return the lengths in steps at which allocations other than uniform were measured, ascending."""
    reference = corpus.space(setting).reference().values
    return sorted(
        {
            record.steps
            for record in corpus.records(setting)
            if record.gain is not None and record.values != reference
        }
    )


def choose_length(corpus: Corpus, setting: str) -> int | None:
    """Return the length with the most distinct allocations, the longest of them; None without any."""
    reference = corpus.space(setting).reference().values
    measured = {
        (record.steps, record.values)
        for record in corpus.records(setting)
        if record.gain is not None and record.values != reference
    }
    counts = Counter(steps for steps, _ in measured)
    return max(counts, key=lambda steps: (counts[steps], steps)) if counts else None


def gather_gains(corpus: Corpus, setting: str, *, steps: int) -> Gains:
    """Collect the paired gains of a setting at one length."""
    space = corpus.space(setting)
    records = [record for record in corpus.records(setting) if record.steps == steps]
    good = [
        record for record in records if record.gain is not None and record.values != space.reference().values
    ]
    rows = {values: row for row, values in enumerate(dict.fromkeys(record.values for record in good))}
    seeds = sorted({record.seed for record in good})
    gains = np.full((len(rows), len(seeds)), np.nan)
    for record in good:
        gains[rows[record.values], seeds.index(record.seed)] = record.gain
    uniform = {record.seed: record.loss_reference for record in records if record.loss_reference is not None}
    return Gains(
        space=space,
        steps=steps,
        tokens=int(np.median([record.tokens for record in good])) if good else 0,
        values=np.array(list(rows), dtype=np.int64).reshape(len(rows), space.n_slots),
        seeds=np.array(seeds, dtype=np.int64),
        gains=gains,
        loss_uniform=float(np.mean(list(uniform.values()))) if uniform else None,
        failed=sum(record.status == "failed" for record in records),
    )
