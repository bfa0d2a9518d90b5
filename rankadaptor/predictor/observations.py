"""Records of one space as arrays: one row per allocation, repeats averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.predictor.prediction import Choices, Floats

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Label, Space

    Labels = tuple[Label, ...]

OUTLIER = 4.0  # gains are clipped at this many spreads, so that one diverged run does not dominate a fit
DIVERGED = (
    50.0  # a run with a gain beyond this many spreads has diverged; the size of its gain is meaningless
)


@dataclass(frozen=True)
class Observations:
    """Measured gains of distinct allocations, none of them the origin of the space.

    Attributes:
        choices: Choices, shape `(n, n_slots)`, in order of first measurement.
        labels: The same as labels, by which records name allocations.
        gains: Mean gain over the repeats, diverged runs clipped, nats per token, shape `(n,)`.
        counts: Repeats per allocation, shape `(n,)`.
        noise: SD of one measurement, from allocations measured more than once; None without repeats.
        order_noise: The same without the noise of the reference, which is common to all allocations of a seed
            and does not change their order; None without repeats.
        freedom: Degrees of freedom of `order_noise`.
        shares: Share of each seed in each mean, shape `(n, n_seeds)`; rows sum to 1.
    """

    choices: NDArray[np.int64]
    labels: tuple[tuple[Label, ...], ...]
    gains: Floats
    counts: NDArray[np.int64]
    noise: float | None
    order_noise: float | None
    freedom: int
    shares: Floats

    def __len__(self) -> int:
        return int(self.gains.size)

    @property
    def spread(self) -> float:
        """Robust scale of the gains around 0, the gain of the reference, in nats per token; 1.0 without any.

        1.4826 times the median absolute gain: the SD of a normal distribution, robust to single diverged
        runs.
        """
        return _measure_spread(self.gains)

    def scale_gains(self, spread: float) -> Floats:
        """Return the gains in units of `spread`, clipped at `OUTLIER`."""
        return np.clip(self.gains / spread, -OUTLIER, OUTLIER)


def gather_observations(space: Space, records: Sequence[Record]) -> Observations:
    """Average the usable records of each allocation, over its longest runs.

    Failed records and those of the reference (whose gain is 0 by definition) are left out. Short runs order
    allocations differently from long ones, so that a long run replaces the short runs of the same allocation.
    Runs that diverged with a finite loss are clipped; see `_clip_diverged`.

    Args:
        space: The space they were measured in.
        records: In any order.

    Raises:
        InputError: If a record has another number of slots than the space.
    """
    slots, reference = len(space.slots), space.reference().values
    longest: dict[Labels, int] = {}
    groups: dict[Labels, list[tuple[float, int]]] = {}
    for record in records:
        if len(record.values) != slots:
            raise InputError(
                f"a record of setting {record.setting!r} has {len(record.values)} values, the space "
                f"has {slots} slots. Pass records measured on this space only."
            )
        key, gain = tuple(record.values), record.gain
        if gain is None or key == reference or record.steps < longest.get(key, 0):
            continue
        if record.steps > longest.get(key, 0):
            longest[key], groups[key] = record.steps, []
        groups.setdefault(key, []).append((float(gain), record.seed))
    groups = _clip_diverged(groups)
    repeated = [np.array([gain for gain, _ in pairs]) for pairs in groups.values() if len(pairs) > 1]
    degrees = sum(gains.size - 1 for gains in repeated)
    noise = float(np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in repeated) / degrees)) if degrees else None
    order_noise, freedom = _separate_seeds(list(groups.values()))
    return Observations(
        choices=np.asarray([space.find_choices(key) for key in groups], dtype=np.int64).reshape(
            len(groups), slots
        ),
        labels=tuple(groups),
        gains=np.asarray([np.mean([gain for gain, _ in p]) for p in groups.values()], dtype=np.float64),
        counts=np.asarray([len(pairs) for pairs in groups.values()], dtype=np.int64),
        noise=noise,
        order_noise=order_noise if freedom else noise,
        freedom=freedom,
        shares=_share_seeds(list(groups.values())),
    )


def _measure_spread(gains: Floats) -> float:
    sizes = np.abs(gains)
    spread = 1.4826 * float(np.median(sizes)) if sizes.size else 0.0
    if spread == 0.0 and sizes.size:
        spread = float(np.sqrt(np.mean(sizes**2)))
    return spread if spread > 0.0 else 1.0


def _clip_diverged(
    groups: dict[Labels, list[tuple[float, int]]],
) -> dict[Labels, list[tuple[float, int]]]:
    """Clip gains beyond `DIVERGED` spreads to the largest of the others, or to `OUTLIER` spreads.

    Calibration and estimates of noise use squared errors, so that a single gain a thousand times larger than
    the others would shrink all predictions to 0. Large gains of runs that did not diverge stay as they are:
    heavy tails (thirty spreads with a median of four gains) are real.
    """
    spread = _measure_spread(np.array([np.mean([gain for gain, _ in pairs]) for pairs in groups.values()]))
    sizes = np.abs([gain for pairs in groups.values() for gain, _ in pairs])
    whole = sizes[sizes <= DIVERGED * spread]
    if whole.size == sizes.size:
        return groups
    limit = max(OUTLIER * spread, float(whole.max(initial=0.0)))
    return {
        key: [(min(max(gain, -limit), limit), seed) for gain, seed in pairs] for key, pairs in groups.items()
    }


def find_most_common_steps(records: Sequence[Record]) -> int | None:
    """Return the most common length of the usable records, the longest if several are; None without any."""
    lengths = [record.steps for record in records if record.gain is not None]
    return max(set(lengths), key=lambda steps: (lengths.count(steps), steps)) if lengths else None


def _share_seeds(groups: Sequence[Sequence[tuple[float, int]]]) -> Floats:
    seeds = sorted({seed for pairs in groups for _, seed in pairs})
    shares = np.zeros((len(groups), len(seeds)))
    for row, pairs in enumerate(groups):
        for _, seed in pairs:
            shares[row, seeds.index(seed)] += 1.0 / len(pairs)
    return shares


def _separate_seeds(groups: Sequence[Sequence[tuple[float, int]]]) -> tuple[float | None, int]:
    """Return the residual SD of a fit by allocation and seed, and its degrees of freedom."""
    repeated = [pairs for pairs in groups if len(pairs) > 1]
    seeds = sorted({seed for pairs in repeated for _, seed in pairs})
    rows, targets = [], []
    for pairs in repeated:
        block = np.zeros((len(pairs), len(seeds)))
        block[np.arange(len(pairs)), [seeds.index(seed) for _, seed in pairs]] = 1.0
        gains = np.array([gain for gain, _ in pairs])
        rows.append(block - block.mean(axis=0))
        targets.append(gains - gains.mean())
    if not repeated:
        return None, 0
    design, wanted = np.concatenate(rows), np.concatenate(targets)
    fit, _, rank, _ = np.linalg.lstsq(design, wanted, rcond=None)
    freedom = wanted.size - len(repeated) - int(rank)
    if freedom < 1:
        return None, 0
    return float(np.sqrt(((wanted - design @ fit) ** 2).sum() / freedom)), freedom


def read_choices(space: Space, allocations: Choices) -> NDArray[np.int64]:
    """Return choices as an array `(n, n_slots)`; allocations of other spaces are converted by their labels.

    Raises:
        InputError: If the number of columns is not the number of slots, or a choice is no option of its slot.
    """
    if isinstance(allocations, np.ndarray):
        return space.check_choices(allocations)
    rows = [
        each.choices if each.space is space or each.space == space else space.find_choices(each.values)
        for each in allocations
    ]
    return np.asarray(rows, dtype=np.int64).reshape(len(rows), space.n_slots)
