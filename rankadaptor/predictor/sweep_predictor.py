"""A predictor of damage whose prior is the sum of slot values and which learns from a search's records.

The damage D of an allocation, −gain (the KL divergence to the first reference where records have it), is
modelled by its logarithm:

    ln D(a) = ln S(a) + w · x(a) + r(a)        S(a) = Σ over slots of v(slot, option)

S is the sum of the sweep's slot values. The linear part corrects it: a constant and a slope of ln S (damages
add up at moderate compression and not at strong compression), a factor on each slot, kind and depth, a tilt
of each slot along each of its coordinates, and terms of pairs of slots that follow one another, √(vᵢ vⱼ) / S.
The features of a slot are its share of S, so that a coefficient is a relative error of the slot's values. r
is a smooth rest: a Gaussian process over the same features, which makes neighbours of a measured allocation
start from what was measured. Both have Gaussian priors; their sizes are chosen by marginal likelihood.

Means are those of ln D, transformed; the standard deviation is the step from there to one standard deviation
below in ln D. That of the damage itself would be dominated by how much worse an allocation may be, and an
acquisition function that adds it would propose the worst.

Records of lower fidelity (few tokens) have a common offset and a noise of their own. A measurement of full
fidelity is exact, and allocations that have one are predicted as measured.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import SlotValues
from rankadaptor.predictor.observations import read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction
from rankadaptor.space.tables import compute_keys

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Ints = NDArray[np.int64]

SMALLEST = 1e-6
"""Nats per token; a smaller damage counts as this before its logarithm is taken."""
CONSTANT, SLOPE, SHARED, PAIRS_SHARED = 0.5, 0.3, 0.4, 0.5
"""Prior SD of the constant, the slope of ln S, the factors of kinds and of depth, and of all pairs alike."""
OWN = (0.15, 0.4, 1.0)
"""Prior SD of a slot's own factor; half of it for tilts and pairs."""
REST = (0.02, 0.06, 0.2)
"""Prior SD of the smooth rest."""
LENGTH = 0.05
"""Distance over which the rest varies: what the linear part says two allocations may differ by in ln D."""
EXACT = 0.003
"""SD in ln D that a measurement of full fidelity is taken to have."""
OFFSET, COARSE = 0.3, 0.1
"""Prior SD of the offset and SD of the noise of a measurement of a quarter of the tokens."""
CHUNK = 2048


@dataclass(frozen=True)
class _Features:
    """Features of allocations and the prior SD of each coefficient, in two groups of columns."""

    space: Space
    values: SlotValues

    def describe(self, choices: Ints) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
        """Return ln S `(n,)` and features `(n, k)` of what slots share and `(n, m)` of single slots.

        Features are multiplied by the prior SDs, those of single slots in units of `OWN`.
        """
        table = _tabulate(self.space, self.values)
        damages = table.damages.take(choices + table.base)
        total = np.maximum(damages.sum(axis=1), SMALLEST)
        log = np.log(total.astype(np.float64))
        shares = damages / total[:, None]
        pairs = np.sqrt(shares[:, :-1] * shares[:, 1:])
        centred = (log - table.centre).astype(np.float32)
        shared = np.concatenate(
            [
                np.full((len(choices), 1), CONSTANT, dtype=np.float32),
                SLOPE * centred[:, None],
                (shares @ table.groups) * np.float32(SHARED),
                PAIRS_SHARED * pairs.sum(axis=1, keepdims=True),
            ],
            axis=1,
        )
        tilts = [shares * tilt.take(choices + table.base) for tilt in table.tilts]
        own = np.concatenate([shares, *(0.5 * tilt for tilt in tilts), 0.5 * pairs], axis=1)
        return log, shared, own


@dataclass(frozen=True)
class _Table:
    damages: NDArray[np.float32]
    base: Ints
    tilts: list[NDArray[np.float32]]
    groups: NDArray[np.float32]
    centre: float


@functools.lru_cache(maxsize=8)
def _tabulate(space: Space, values: SlotValues) -> _Table:
    """Lay slot values and standardised coordinates out flat, for looking up."""
    tables = space.tables
    used = tables.searchable
    damages = np.zeros(tables.costs[0].shape, dtype=np.float32)
    damages[used] = np.maximum(values.as_array(space)[used], 0.0)
    tilts = []
    for coordinate in tables.coordinates:
        size = np.abs(coordinate).max(axis=1, keepdims=True)
        scaled = np.where(size > 0, coordinate / np.where(size > 0, size, 1.0), 0.0)
        spread = scaled - scaled.mean(axis=1, keepdims=True)
        tilts.append(spread.ravel().astype(np.float32))
    kinds = np.eye(int(tables.kinds.max()) + 1, dtype=np.float32)[tables.kinds]
    depth = tables.depth[:, None]
    groups = np.concatenate([kinds, kinds * depth, kinds * (depth**2 - 1 / 3)], axis=1)
    drawn = space.sample_choices(64, 0)
    total = damages.ravel().take(drawn + tables.columns * tables.n_options).sum(axis=1)
    return _Table(
        damages=damages.ravel(),
        base=tables.columns * tables.n_options,
        tilts=tilts,
        groups=groups.astype(np.float32),
        centre=float(np.log(np.maximum(total, SMALLEST)).mean()),
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    """The posterior given the records.

    Attributes:
        shared: Features of the records, `(n, k)`.
        own: Features of single slots, `(n, m)`, times their prior SD.
        size: Prior SD of single slots' coefficients.
        rest: Prior SD of the smooth rest.
        factor: Lower Cholesky factor of the records' covariance, `(n, n)`.
        weights: Covariance⁻¹ · residuals, `(n,)`.
        known: Choices of full fidelity → damage.
        keys: Numbers that stand for these choices.
    """

    shared: NDArray[np.float32]
    own: NDArray[np.float32]
    size: float
    rest: float
    factor: Floats
    weights: Floats
    known: dict[tuple[int, ...], float]
    keys: NDArray[np.uint64]


@dataclass(frozen=True)
class SweepPredictor:
    """Predicts gains from a sweep's slot values, corrected by the records of the search.

    Attributes:
        values: Slot values of the space, in nats per token.
        seed: Of the draws, for Thompson sampling.
    """

    values: SlotValues
    seed: int = 0
    fitted: _Fit | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="sweep", init=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        features = _Features(space, self.values)
        mean, std = np.zeros(len(array)), np.zeros(len(array))
        for start in range(0, len(array), CHUNK):
            part = slice(start, start + CHUNK)
            mean[part], std[part] = self._predict_logs(features, array[part])
        damage = np.exp(mean)
        width = damage * -np.expm1(-std)  # downwards: the tail upwards must not look like a promise
        if self.fitted is not None:
            measured = np.isin(compute_keys(array), self.fitted.keys)
            for row in np.flatnonzero(measured).tolist():
                damage[row], width[row] = self.fitted.known[tuple(array[row].tolist())], 0.0
        origin = (array == np.asarray(space.origin)).all(axis=1)
        damage[origin], width[origin] = 0.0, 0.0
        return Prediction(mean=-damage, std=width)

    def update(self, space: Space, records: Sequence[Record]) -> SweepPredictor:
        """Condition on all records; see `Predictor`."""
        seen = _gather(space, records)
        if not seen:
            return dataclasses.replace(self, fitted=None)
        choices = np.array([row for row, _ in seen], dtype=np.int64)
        fidelities = np.array([fidelity for _, fidelity in seen])
        damages = np.array(list(seen.values()))
        log, shared, own = _Features(space, self.values).describe(choices)
        residuals = np.log(np.maximum(damages, SMALLEST)) - log
        full = fidelities >= fidelities.max()
        known = {
            row: damage for (row, _), damage, whole in zip(seen, damages.tolist(), full, strict=True) if whole
        }
        errors = _describe_errors(fidelities / fidelities.max() if fidelities.max() > 0 else fidelities + 1.0)
        return dataclasses.replace(self, fitted=_fit(shared, own, residuals, errors, known))

    def _predict_logs(self, features: _Features, choices: Ints) -> tuple[Floats, Floats]:
        """Return mean and SD of ln D, `(n,)` each."""
        log, shared, own = features.describe(choices)
        fit = self.fitted
        size, rest = (fit.size, fit.rest) if fit is not None else (OWN[1], REST[1])
        own = own * np.float32(size)
        variance = (shared**2).sum(axis=1) + (own**2).sum(axis=1)
        if fit is None:
            return log, np.sqrt(variance + rest**2)
        linear = shared @ fit.shared.T + own @ fit.own.T
        norms = (fit.shared**2).sum(axis=1) + (fit.own**2).sum(axis=1)
        cross = _add_rest(linear, variance, norms, rest=rest)
        explained = cross @ _invert(fit.factor).T
        spread = np.maximum(variance + rest**2 - (explained**2).sum(axis=1), 0.0)
        return log + cross @ fit.weights.astype(np.float32), np.sqrt(spread.astype(np.float64))


def _gather(space: Space, records: Sequence[Record]) -> dict[tuple[tuple[int, ...], float], float]:
    """Return damage by choices and fidelity; failed records and the first reference are left out."""
    groups: dict[tuple[tuple[int, ...], float], list[float]] = {}
    for record in records:
        if record.gain is not None and (choices := space.find_choices(record.values)) != space.origin:
            groups.setdefault((choices, record.fidelity), []).append(-record.gain)
    return {key: float(np.mean(damages)) for key, damages in groups.items()}


def _describe_errors(fidelities: Floats) -> Floats:
    """Return the covariance of measurement errors in ln D, `(n, n)`, from shares of the full fidelity."""
    scarce = np.sqrt(np.maximum(1.0 / np.maximum(fidelities, 1e-3) - 1.0, 0.0) / 3.0)
    same = fidelities[:, None] == fidelities
    offset = OFFSET**2 * same * np.minimum(scarce[:, None] * scarce, 1.0)
    covariance: Floats = offset + np.diag((COARSE * scarce) ** 2 + EXACT**2)
    return covariance


def _fit(
    shared: NDArray[np.float32],
    own: NDArray[np.float32],
    residuals: Floats,
    errors: Floats,
    known: dict[tuple[int, ...], float],
) -> _Fit:
    """Choose the prior's sizes by marginal likelihood and condition on the records."""
    from scipy.linalg import cho_solve

    keys = compute_keys(np.array(list(known), dtype=np.int64))
    best: tuple[float, _Fit] | None = None
    for size, rest in itertools.product(OWN, REST):
        factor = _factorise(shared, own, errors, size=size, rest=rest)
        weights = cho_solve((factor, True), residuals)
        evidence = -0.5 * float(residuals @ weights) - float(np.log(np.diag(factor)).sum())
        if best is None or evidence > best[0]:
            scaled = (own * np.float32(size)).astype(np.float32)
            best = evidence, _Fit(shared, scaled, size, rest, factor, weights, known, keys)
    assert best is not None
    return best[1]


def _factorise(
    shared: NDArray[np.float32], own: NDArray[np.float32], errors: Floats, *, size: float, rest: float
) -> Floats:
    """Return the lower Cholesky factor of the records' covariance, `(n, n)`.

    Products of features are in single precision. Where many records lie within `LENGTH` of one another, its
    rounding errors may exceed the smallest eigenvalue; they are then in double precision.
    """
    from scipy.linalg import LinAlgError, cholesky

    for precision in (np.float32, np.float64):
        first: NDArray[Any] = shared.astype(precision)
        second: NDArray[Any] = own.astype(precision)
        grams = [np.matmul(part, part.T).astype(np.float64) for part in (first, second)]
        linear = grams[0] + size**2 * grams[1]
        norms = np.diag(linear)
        covariance = _add_rest(linear, norms, norms, rest=rest) + errors
        try:
            factor: Floats = cholesky(covariance + 1e-8 * np.eye(len(covariance)), lower=True)
        except LinAlgError:
            if precision is np.float64:
                raise
        else:
            return factor
    raise AssertionError("unreachable: double precision returns or raises")


def _add_rest(linear: Any, first: Any, second: Any, *, rest: float) -> Any:
    """Add the covariance of the smooth rest to that of the linear part."""
    distance = np.maximum(first[:, None] + second - 2.0 * linear, 0.0)
    return linear + rest**2 * np.exp(distance * (-0.5 / LENGTH**2))


def _invert(factor: Floats) -> NDArray[np.float32]:
    from scipy.linalg import solve_triangular

    inverse: NDArray[np.float32] = solve_triangular(factor, np.eye(len(factor)), lower=True).astype(
        np.float32
    )
    return inverse
