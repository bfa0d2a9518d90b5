"""What a search returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import RankAdaptorError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Prediction, Predictor
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
        best_gain: Largest gain measured so far, and at least 0, the gain of the first reference, where this
            reference keeps the limits; None before anything was measured where it does not.
        status: `ok` or `failed`.
    """

    evaluation: int
    values: tuple[Label, ...]
    predicted_mean: float | None
    predicted_std: float | None
    gain: float | None
    best_gain: float | None
    status: str

    def to_json(self) -> dict[str, Any]:
        """Return the step as a JSON-like dict."""
        return {**dataclasses.asdict(self), "values": list(self.values)}


def list_steps(
    records: Sequence[Record], prediction: Prediction | None, *, first: int, best: float | None
) -> list[Step]:
    """Return one step per record.

    Args:
        records: What was measured, in the order told.
        prediction: What was predicted of them before; None while the predictor knew nothing.
        first: Number of the first evaluation.
        best: Largest gain before, nats per token; None if there is none.
    """
    steps = []
    for index, record in enumerate(records):
        if record.gain is not None:
            best = record.gain if best is None else max(best, record.gain)
        steps.append(
            Step(
                evaluation=first + index,
                values=record.values,
                predicted_mean=float(prediction.mean[index]) if prediction else None,
                predicted_std=float(prediction.std[index]) if prediction else None,
                gain=record.gain,
                best_gain=best,
                status=record.status,
            )
        )
    return steps


def explain_no_result(records: Sequence[Record]) -> RankAdaptorError:
    """Return the error of a search that has not measured anything: no records, or failed ones alone."""
    if not records:
        return RankAdaptorError(
            "no allocation was measured: this search has been told no records. Measure what ask() "
            "proposes and tell it, or call run()."
        )
    errors = [record.error for record in records if record.error]
    return RankAdaptorError(
        f"no allocation was measured: {len(records)} fine-tunes, all failed"
        + (f" (the last: {errors[-1]})." if errors else ".")
        + " Lower recipe.learning_rate or let the run tune it, and check the data."
    )


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
