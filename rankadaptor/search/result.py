"""What a search returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError, RankAdaptorError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Prediction, Predictor
    from rankadaptor.space import Allocation, Label, Space

SLICE = "slice"


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


def check_records(space: Space, records: Sequence[Record]) -> None:
    """Check that records belong to a search's space.

    Raises:
        InputError: If one does not.
    """
    for record in records:
        try:
            space.allocation(record.values)
        except InputError as error:
            raise InputError(
                f"a record of setting {record.setting!r} is not of this search's space: {error} Tell "
                "only records that were measured in this space."
            ) from error


def list_usable(records: Sequence[Record], *, whole: bool = False) -> list[tuple[Label, ...]]:
    """Return the distinct values that have a good record, in the order told.

    With `whole`, slices that were measured on fewer tokens than others are left out.
    """
    good = [record for record in records if record.gain is not None]
    most = max((record.fidelity for record in good if record.source == SLICE), default=0.0)
    kept = (each for each in good if not whole or each.source != SLICE or each.fidelity >= most)
    return list(dict.fromkeys(record.values for record in kept))


def describe_best(space: Space, history: Sequence[Step]) -> str:
    """Say in a few words what the largest gain so far is."""
    best = history[-1].best_gain if history else None
    return "no gain yet" if best is None else f"best {best:+.4f} nats per token vs {space.references[0][0]}"


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
    """The outcome of a search; `best` still has to be confirmed on seeds that did not choose it.

    Attributes:
        best: The measured allocation whose gain the final predictor expects to be largest. Taking the largest
            *measured* gain instead would favour measurements with favourable noise.
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
