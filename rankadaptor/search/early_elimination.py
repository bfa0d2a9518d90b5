"""Early elimination: all proposals of a batch are measured on few tokens, the best of them on all tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rankadaptor.corpus.record import SECONDS, TOKENS
from rankadaptor.errors import InputError
from rankadaptor.search.halving import rank_records

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

KEEP = 0.4
"""Share of a batch that is measured on all tokens."""


class MeasureTokens(Protocol):
    """Measures allocations on a leading part of its tokens; `SliceScore.measure` does."""

    def __call__(self, allocations: Sequence[Allocation], *, tokens: int | None = None) -> Sequence[Record]:
        """Return one record per allocation, in order."""


@dataclass(frozen=True)
class EarlyElimination:
    """A measure of batches that spends all tokens on the best of a batch only; for `Search.run_batches`.

    It returns one record per allocation: of lower fidelity where it was eliminated, of full fidelity, with
    the costs of both measurements, where it was not. A batch of one is measured on all tokens at once.

    Attributes:
        measure: Measures allocations on so many tokens.
        tokens: Tokens of the first measurement.
        keep: Share of a batch that is measured on all tokens, at least one allocation.
    """

    measure: MeasureTokens
    tokens: int
    keep: float = KEEP

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0.0 < self.keep <= 1.0:
            raise InputError(f"tokens={self.tokens}, keep={self.keep}: at least 1, and above 0 and up to 1.")

    def __call__(self, allocations: Sequence[Allocation]) -> list[Record]:
        """Measure one batch; records come in the order of the allocations."""
        if len(allocations) == 1:
            return list(self.measure(allocations))
        brief = list(self.measure(allocations, tokens=self.tokens))
        count = max(1, round(len(allocations) * self.keep))
        best = {record.values for record in rank_records(brief)[:count] if record.gain is not None}
        kept = [allocation for allocation in allocations if allocation.values in best]
        whole = {record.values: record for record in self.measure(kept)} if kept else {}
        return [_add_costs(whole[each.values], each) if each.values in whole else each for each in brief]


def _add_costs(record: Record, earlier: Record) -> Record:
    """Return a record with the tokens and seconds of an earlier one of the same allocation added."""
    spent = {name: record.costs.get(name, 0) + earlier.costs.get(name, 0) for name in (TOKENS, SECONDS)}
    return dataclasses.replace(record, costs={**record.costs, **spent})
