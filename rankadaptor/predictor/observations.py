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

OUTLIER = 4.0  # gains beyond this many spreads are pulled in: one broken run must not flatten all others
BROKEN = 50.0  # beyond this many the run has broken, and how far off it is says nothing


@dataclass(frozen=True)
class Observations:
    """Measured gains of distinct allocations, none of them the origin of the space.

    Attributes:
        choices: Choices, shape `(n, n_slots)`, in order of first measurement.
        labels: The same as labels, by which records name allocations.
        gains: Mean gain over the repeats, broken runs pulled in, nats per token, shape `(n,)`.
        counts: Repeats per allocation, shape `(n,)`.
        noise: SD of one measurement from allocations measured more than once; None without repeats.
        order_noise: The same without what all allocations of a seed have in common, uniform's own luck, which
            moves all gains and leaves their order alone; None without repeats.
        freedom: Degrees of freedom behind `order_noise`.
        shares: How each mean is made up of seeds, shape `(n, n_seeds)`; rows sum to 1.
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
        """Robust size of the gains around 0, the gain of uniform, in nats per token; 1.0 without any.

        1.4826 times the median size, which is the SD of a normal law and does not follow one broken run.
        """
        return _measure_spread(self.gains)

    def scale_gains(self, spread: float) -> Floats:
        """Return the gains in units of `spread`, outliers pulled in."""
        return np.clip(self.gains / spread, -OUTLIER, OUTLIER)


def gather_observations(space: Space, records: Sequence[Record], *, steps: int | None = None) -> Observations:
    """Average the usable records allocation by allocation, over the longest runs of each.

    Failed records and those of uniform (whose gain is 0 by definition) are left out. Short runs rank
    allocations otherwise than long ones, so a long one replaces the short ones of the same allocation. A run
    that broke with a finite loss counts no worse than the worst that did not; see `_pull_in_broken`.

    Args:
        space: The space they were measured in.
        records: In any order.
        steps: Take runs of this length alone.

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
        if steps is not None and record.steps != steps:
            continue
        if record.steps > longest.get(key, 0):
            longest[key], groups[key] = record.steps, []
        groups.setdefault(key, []).append((float(gain), record.seed))
    groups = _pull_in_broken(groups)
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


def _pull_in_broken(
    groups: dict[Labels, list[tuple[float, int]]],
) -> dict[Labels, list[tuple[float, int]]]:
    """Pull gains beyond `BROKEN` spreads in to the largest size of the others, or to `OUTLIER` spreads.

    What judges a fit squares its errors, and so does every estimate of noise: a single gain a thousand times
    the others' would leave the predictor believing nothing and the search with nothing to hope for. Far but
    whole gains stay as they are; heavy tails (thirty spreads from the median of four) are real.
    """
    spread = _measure_spread(np.array([np.mean([gain for gain, _ in pairs]) for pairs in groups.values()]))
    sizes = np.abs([gain for pairs in groups.values() for gain, _ in pairs])
    whole = sizes[sizes <= BROKEN * spread]
    if whole.size == sizes.size:
        return groups
    limit = max(OUTLIER * spread, float(whole.max(initial=0.0)))
    return {
        key: [(min(max(gain, -limit), limit), seed) for gain, seed in pairs] for key, pairs in groups.items()
    }


def find_usual_steps(records: Sequence[Record]) -> int | None:
    """Return the length that most usable records have, the longer one of two; None without any."""
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
    """Return the SD of what neither the allocation nor the seed explains, and its degrees of freedom."""
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
    """Return choices as an array `(n, n_slots)`; allocations of other spaces are read by their labels.

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
