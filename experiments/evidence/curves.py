"""Check whether the recovery of uniform has converged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus, Study

FLAT = 0.05
"""A curve has flattened if the last doubling of tokens adds at most this share of what is recovered."""


@dataclass(frozen=True)
class RecoveryCurve:
    """Held-out loss of uniform over the length of its fine-tune.

    Attributes:
        steps: Optimiser steps, ascending.
        tokens: Tokens trained on at each.
        losses: Loss at each, mean over seeds, nats per token.
        pruned_loss: Loss before recovery; None if not known.
        last_doubling: What the last doubling of tokens adds, as a share of the most that any length recovers;
            None if not known. Losses between measured lengths are interpolated over log tokens.
    """

    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    pruned_loss: float | None
    last_doubling: float | None

    @property
    def flattened(self) -> bool | None:
        """Whether the last doubling adds at most `FLAT`; None if not known."""
        return None if self.last_doubling is None else self.last_doubling <= FLAT

    def measure_reached(self, tokens: int) -> float | None:
        """Return what a run of `tokens` recovers, as a share of the best on the curve.

        None if nothing is recovered, the loss before recovery is not known, or the curve is shorter.
        """
        best = min(self.losses)
        if self.pruned_loss is None or self.pruned_loss <= best:
            return None
        if not self.tokens[0] <= tokens <= self.tokens[-1]:
            return None
        loss = float(np.interp(np.log(tokens), np.log(self.tokens), self.losses))
        return (self.pruned_loss - loss) / (self.pruned_loss - best)

    def flattened_at(self, tokens: int) -> bool:
        """Whether the curve has flattened and a run of `tokens` is within `FLAT` of its best."""
        reached = self.measure_reached(tokens)
        return bool(self.flattened) and reached is not None and reached >= 1 - FLAT


def build_recovery_curve(corpus: Corpus, setting: str, study: Study) -> RecoveryCurve | None:
    """Return uniform's curve from study and records, one run per length; None below two lengths."""
    losses: dict[int, list[float]] = defaultdict(list)
    tokens: dict[int, int] = {}
    reference = corpus.space(setting).reference().values
    points = [(point.steps, point.tokens, point.loss) for point in study.curve]
    known = {steps for steps, _, _ in points}
    points += [
        (record.steps, record.tokens, record.loss)
        for record in corpus.records(setting)
        if record.values == reference and record.steps not in known
    ]
    for steps, count, loss in points:
        if steps and count and loss is not None:
            losses[steps].append(loss)
            tokens[steps] = count
    if len(losses) < 2:
        return None
    ordered = sorted(losses)
    means = [float(np.mean(losses[steps])) for steps in ordered]
    counts = [tokens[steps] for steps in ordered]
    pruned = corpus.setting(setting).pruned_loss
    return RecoveryCurve(
        steps=tuple(ordered),
        tokens=tuple(counts),
        losses=tuple(means),
        pruned_loss=pruned,
        last_doubling=_measure_last_doubling(counts, means, pruned),
    )


def _measure_last_doubling(tokens: list[int], losses: list[float], pruned: float | None) -> float | None:
    half = tokens[-1] / 2
    if pruned is None or pruned <= min(losses) or half < tokens[0]:
        return None
    at_half = float(np.interp(np.log(half), np.log(tokens), losses))
    return (at_half - losses[-1]) / (pruned - min(losses))
