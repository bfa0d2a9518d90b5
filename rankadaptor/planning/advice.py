"""Which way of making a model smaller to take, by what was measured, and how sure that is.

No torch import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rankadaptor.config.sections import ComputeSection
from rankadaptor.defaults import COMPRESSION
from rankadaptor.errors import InputError
from rankadaptor.methods import LORA, find_method
from rankadaptor.planning.costs import Work, count_training
from rankadaptor.planning.measured import SEARCHED, STOCK, MeasuredFile, read_measured
from rankadaptor.planning.rates import choose_rate
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.trainable import count_trainable

Q8_BYTES = 34 / 32
"""Bytes of a weight in Q8_0."""
LEAST_SHARE = 0.75
"""A file that uses less of the size than this says little about it."""
CLOSE = 0.1
"""Relative difference in size up to which a measurement counts as one of this size."""
SAME_LOSS = 0.02
"""Nats per token within which the simpler way is taken."""
MEASURED, NEAR, TRANSFERRED, UNKNOWN = "measured", "near", "transferred", "unknown"
SURE = {
    MEASURED: "measured on this model at this size, with one seed",
    NEAR: "measured on this model, but not at this size",
    TRANSFERRED: "measured on another model only: take it as an order of preference, not as figures",
    UNKNOWN: "nothing of about this size was measured",
}


@dataclass(frozen=True)
class Option:
    """One way, as it was measured, and what it would cost here.

    Attributes:
        file: The measured file.
        hours: Estimated time for the given model.
        fits: Whether that is within the hours.
    """

    file: MeasuredFile
    hours: float
    fits: bool


@dataclass(frozen=True)
class Advice:
    """What to take.

    Attributes:
        chosen: The option; None if none fits.
        options: All options of about this size, the best loss first.
        certainty: `measured`, `near`, `transferred` or `unknown`.
        why: Sentences.
    """

    chosen: Option | None
    options: tuple[Option, ...]
    certainty: str
    why: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return asdict(self)


def advise(
    model: str,
    shape: ModelShape,
    *,
    size: int,
    hours: float,
    table: Sequence[MeasuredFile] | None = None,
) -> Advice:
    """Choose a way to make a model fit a size in a time.

    The rows are those of the model itself, or of the measured model with the nearest number of parameters,
    whose sizes are then compared relative to the dense model in Q8_0. Of the files that are not larger than
    the limit, and not much smaller, the one with the lowest loss is taken among those that can be made in
    time, or the simplest one that loses at most 0.02 nats per token more.

    Args:
        model: Its name, as `load` takes it.
        shape: Its sizes.
        size: Bytes of the file at most.
        hours: Hours of this machine at most.
        table: The measured files; by default those that come with the package.

    Raises:
        InputError: If size or hours are not above 0.
    """
    if size <= 0 or hours <= 0:
        raise InputError(f"size={size}, hours={hours}: both must be above 0.")
    rows = read_measured() if table is None else table
    own = [row for row in rows if row.setting == model]
    nearest = min(rows, key=lambda row: abs(math.log(row.parameters / shape.parameters))).setting
    rows = own or [row for row in rows if row.setting == nearest]
    wanted = size / (own[0].whole_bytes if own else shape.parameters * Q8_BYTES)
    least = LEAST_SHARE * min(wanted, 1.0)  # more than Q8_0 has is not needed
    fitting = [row for row in rows if least <= row.size <= wanted]
    priced = [Option(row, found, found <= hours) for row in fitting for found in [estimate_hours(row, shape)]]
    options = sorted(priced, key=lambda option: option.file.mean_excess)
    if not options:
        sizes = sorted({round(row.size, 2) for row in rows})
        return Advice(
            None, (), UNKNOWN,
            (f"The size is {wanted:.2f} of the model in Q8_0; {rows[0].setting} was measured at "
             f"{sizes[0]:.2f} to {sizes[-1]:.2f}. Run rankadaptor compress: it measures the alternatives.",),
        )  # fmt: skip
    open_ = [option for option in options if option.fits]
    if not open_:
        cheapest = min(options, key=lambda option: option.hours)
        sentence = (
            f"Nothing measured takes at most {hours:g} hours; {cheapest.file.method} takes "
            f"{cheapest.hours:.1f}."
        )
        return Advice(None, tuple(options), _find_certainty(cheapest, wanted, own=bool(own)), (sentence,))
    alike = [each for each in open_ if each.file.mean_excess - open_[0].file.mean_excess <= SAME_LOSS]
    chosen = min(alike, key=lambda option: (_rank_simplicity(option.file), option.file.mean_excess))
    why = [
        f"It had {chosen.file.mean_excess:+.3f} nats per token over the dense model on "
        f"{chosen.file.setting}, at {chosen.file.bytes / 1e6:.1f} MB, {chosen.file.size:.2f} of Q8_0."
    ]
    if chosen is not open_[0]:
        why.append(
            f"{open_[0].file.method} had {open_[0].file.mean_excess:+.3f}, which is not worth its effort."
        )
    if not options[0].fits:
        why.append(f"With {options[0].hours:.1f} hours {options[0].file.method} would be the best.")
    return Advice(chosen, tuple(options), _find_certainty(chosen, wanted, own=bool(own)), tuple(why))


def estimate_hours(file: MeasuredFile, shape: ModelShape) -> float:
    """Estimate how long a way takes for a model: as measured, by parameters; a recovery by its tokens."""
    if file.seconds is not None:
        return file.seconds / 3600 * shape.parameters / file.parameters
    rank = COMPRESSION.rank
    adapter = count_trainable(find_method(LORA), shape, rank=rank)
    length = COMPRESSION.length
    work = Work(tokens=file.tokens_trained, targets=file.tokens_trained, length=length)
    rate = choose_rate(ComputeSection(threads=1))
    return rate.compute_seconds(count_training(shape, work, adapter=adapter)) / 3600


def _find_certainty(option: Option, wanted: float, *, own: bool) -> str:
    if not own:
        return TRANSFERRED
    return MEASURED if option.file.size >= (1 - CLOSE) * min(wanted, 1.0) else NEAR


def _rank_simplicity(file: MeasuredFile) -> tuple[int, bool]:
    return 0 if file.kind == STOCK else 2 if file.kind == SEARCHED else 1, file.recovered
