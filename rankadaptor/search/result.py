"""What a search returns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Predictor
    from rankadaptor.space import Allocation, Label


@dataclass(frozen=True)
class Step:
    """One evaluation of a search, with what was predicted before it was measured.

    Attributes:
        evaluation: Counted from 1.
        values: The allocation, one label a slot.
        predicted_mean: Predicted gain, nats per token; None while the predictor knew nothing.
        predicted_std: Its standard deviation, without the noise of the measurement; None likewise.
        gain: Measured gain, nats per token; None if the fine-tune failed.
        best_gain: Largest gain measured so far, at least 0, the gain of uniform.
        status: `ok` or `failed`.
    """

    evaluation: int
    values: tuple[Label, ...]
    predicted_mean: float | None
    predicted_std: float | None
    gain: float | None
    best_gain: float
    status: str

    def to_json(self) -> dict[str, Any]:
        """Return the step as a JSON-like dict."""
        return {**dataclasses.asdict(self), "values": list(self.values)}


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search; `best` is a candidate for `confirm`, not yet a finding.

    Attributes:
        best: The measured allocation whose gain the final predictor expects to be largest. Taking the largest
            *measured* gain instead would favour the luckiest measurement.
        expected_gain: That expectation, nats per token.
        records: All records, failed ones included, in the order told.
        history: One step per record.
        predictor: The predictor, conditioned on all records.
    """

    best: Allocation
    expected_gain: float
    records: tuple[Record, ...] = field(repr=False)
    history: tuple[Step, ...] = field(repr=False)
    predictor: Predictor = field(repr=False)
