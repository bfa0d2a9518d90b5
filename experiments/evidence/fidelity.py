"""Compare the order of allocations after short and long fine-tunes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.correlation import FEWEST_PAIRS, Correlation, correlate
from experiments.evidence.observations import list_lengths
from rankadaptor.space import Values

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus


@dataclass(frozen=True)
class Fidelity:
    """One shorter length against the longest.

    Attributes:
        steps: The shorter length.
        longest: The longest length.
        correlation: Of the gains at both, allocation by allocation; None where they never vary.
        spread: SD of the gains at the shorter length, nats per token.
        spread_longest: SD of the same allocations' gains at the longest.
        regret: Gain at the longest length of the allocation that is best there, minus that of the one that is
            best at the shorter, nats per token; both with selection bias.
    """

    steps: int
    longest: int
    correlation: Correlation | None
    spread: float
    spread_longest: float
    regret: float

    @property
    def share(self) -> float:
        """The shorter length as a share of the longest."""
        return self.steps / self.longest


def compare_lengths(corpus: Corpus, setting: str) -> tuple[Fidelity, ...]:
    """Compare every shorter length with the longest at which enough allocations are shared, ascending.

    Gains are compared under the same seeds, and averaged over them.
    """
    lengths = list_lengths(corpus, setting)
    gains = {steps: _index_gains(corpus, setting, steps) for steps in lengths}
    found = []
    for longest in reversed(lengths):
        for steps in lengths[: lengths.index(longest)]:
            shared = sorted(gains[steps].keys() & gains[longest].keys())
            allocations = list(dict.fromkeys(values for values, _ in shared))
            if len(allocations) < FEWEST_PAIRS:
                continue
            short, long = (
                np.array(
                    [
                        np.mean([gains[length][key] for key in shared if key[0] == values])
                        for values in allocations
                    ]
                )
                for length in (steps, longest)
            )
            found.append(
                Fidelity(
                    steps=steps,
                    longest=longest,
                    correlation=correlate(short, long),
                    spread=float(short.std(ddof=1)),
                    spread_longest=float(long.std(ddof=1)),
                    regret=float(long.max() - long[int(np.argmax(short))]),
                )
            )
        if found:
            break
    return tuple(found)


def _index_gains(corpus: Corpus, setting: str, steps: int) -> dict[tuple[Values, int], float]:
    reference = corpus.space(setting).reference().values
    return {
        (record.values, record.seed): record.gain
        for record in corpus.records(setting)
        if record.steps == steps and record.gain is not None and record.values != reference
    }
