"""Early elimination: allocations are measured on few tokens, on all of them where they may be the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from rankadaptor.corpus.record import KL, SECONDS, TOKENS
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

KEEP = 0.5
"""Share of a batch that is measured on all tokens at most."""
MARGIN = 0.1
"""Share by which the divergence on few tokens may lie above the best one for an allocation to go on."""


class MeasureTokens(Protocol):
    """Measures allocations on a leading part of its tokens; `SliceScore.measure` does."""

    def __call__(self, allocations: Sequence[Allocation], *, tokens: int | None = None) -> Sequence[Record]:
        """Return one record per allocation, in order."""


class EarlyElimination:
    """A measure of batches that spends all tokens on promising allocations only; for `Search.run_batches`.

    It returns one record per allocation: of lower fidelity where it was eliminated, of full fidelity, with
    the costs of both measurements, where it was not. Nothing of the first batch is eliminated.

    Args:
        measure: Measures allocations on so many tokens, by their KL divergence.
        tokens: Tokens of the first measurement.
        keep: Share of a batch that goes on at most, the best ones, at least one.
        margin: An allocation goes on if its divergence on these tokens is at most this share above the lowest
            one of the batches before.
    """

    def __init__(
        self, measure: MeasureTokens, *, tokens: int, keep: float = KEEP, margin: float = MARGIN
    ) -> None:
        if tokens < 1 or not 0.0 < keep <= 1.0 or margin < 0:
            raise InputError(
                f"tokens={tokens}, keep={keep}, margin={margin}: at least 1, above 0 and up to 1, and not "
                "below 0."
            )
        self.measure, self.tokens, self.keep, self.margin = measure, tokens, keep, margin
        self._lowest = math.inf

    def __call__(self, allocations: Sequence[Allocation]) -> list[Record]:
        """Measure one batch; records come in the order of the allocations."""
        brief = list(self.measure(allocations, tokens=self.tokens))
        found = {record.values: record.metrics[KL] for record in brief if record.status == "ok"}
        count, bound = len(found), self._lowest * (1 + self.margin)
        if math.isfinite(bound):
            count = max(1, round(len(allocations) * self.keep))
        promising = {
            values for values in sorted(found, key=found.__getitem__)[:count] if found[values] <= bound
        }
        going_on = [allocation for allocation in allocations if allocation.values in promising]
        whole = {record.values: record for record in self.measure(going_on)} if going_on else {}
        self._lowest = min([self._lowest, *found.values()])
        return [_join(whole[each.values], each) if each.values in whole else each for each in brief]


def _join(record: Record, earlier: Record) -> Record:
    """Return a record with the tokens and seconds of an earlier one of the same allocation added."""
    if record == earlier:  # the first measurement was on all tokens
        return record
    spent = {name: record.costs.get(name, 0) + earlier.costs.get(name, 0) for name in (TOKENS, SECONDS)}
    return dataclasses.replace(record, costs={**record.costs, **spent})
