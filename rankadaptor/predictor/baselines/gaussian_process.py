"""A Gaussian process with a kernel that is a sum over slots, learned on one setting from scratch."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.features import find_uncounted
from rankadaptor.features.means import find_slot_half
from rankadaptor.predictor.observations import Observations, gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction, predict_without_records
from rankadaptor.predictor.prior.mixing import mix_normals, normalise_weights, whiten
from rankadaptor.predictor.prior.noise import build_noise_covariances
from rankadaptor.predictor.prior.slot_posterior import SlotPosterior, find_root, flatten_basis

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

CURVES = 4  # leading eigenvectors of the kernel over ranks
RANK_LENGTHS = (0.7, 2.0)  # in log-ratio
DEPTH_LENGTH = 0.5  # of −1 … 1
# Weights of the parts of the kernel over slots: constant, same half, same kind, near in depth, near and of
# the same kind, identity.
KERNEL_SHARES = (
    (0.4, 0.2, 0.4, 0.4, 0.2, 0.1),
    (0.4, 0.2, 1.0, 0.1, 0.1, 0.05),
    (0.4, 0.2, 0.1, 1.0, 0.1, 0.05),
    (0.4, 0.1, 0.2, 0.2, 0.4, 0.6),
)
SIZES = ((0.05, 0.3), (0.5, 0.15), (1.0, 0.3), (2.0, 0.25))  # in spreads, with prior probabilities
NOISES = (0.1, 0.2, 0.35, 0.6, 1.0)
REFERENCE_NOISE = 0.3  # noise variance of the reference over that of an allocation
SAMPLE = 256


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process whose kernel is a sum over slots.

    f(allocation) = Σ over slots of g(slot, rank). The kernel of g is a product of a smooth kernel over the
    log-ratio of the rank to uniform's, 0 at uniform, and a kernel over slots that correlates slots of the
    same kind, half or depth. Length scales, kernels over slots, size and noise are averaged by marginal
    likelihood and not selected, because few records cannot distinguish them.

    Attributes:
        seed: Draws for Thompson sampling.
    """

    seed: int = 0
    seen: tuple[Space, SlotPosterior] | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="gaussian_process", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        if self.seen is None or self.seen[0] != space:
            return predict_without_records(space, array)
        return self.seen[1].predict(array, seed=self.seed)

    def update(self, space: Space, records: Sequence[Record]) -> GaussianProcess:
        """Condition on all records; see `Predictor`."""
        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, seen=None)
        return dataclasses.replace(self, seen=(space, _condition(space, observations)))


def _condition(space: Space, observations: Observations) -> SlotPosterior:
    tables = np.concatenate([_tabulate_curves(space, length=length) for length in RANK_LENGTHS])
    rows = flatten_basis(tables, observations.choices)
    kernels = _build_slot_kernels(space)
    curves = CURVES * len(space.tables.coordinates)
    used = [slice(index * curves * space.n_slots, (index + 1) * curves * space.n_slots) for index in (0, 1)]
    pairs = list(itertools.product(used, kernels))
    priors = [np.kron(np.eye(curves), kernel) for kernel in kernels]
    grams = [_build_gram(rows[:, part], np.kron(np.eye(curves), kernel)) for part, kernel in pairs]
    spread = max(observations.spread, 1e-12)
    error, reference_noise = build_noise_covariances(space, observations)
    unit = error + REFERENCE_NOISE * reference_noise
    grid = [
        (index, spread * size, spread * noise, np.log(chance))
        for index, (size, chance), noise in itertools.product(range(len(pairs)), SIZES, NOISES)
    ]
    covariances = np.array(
        [size**2 * grams[index] + noise**2 * unit for index, size, noise, _ in grid], dtype=np.float64
    )
    gains = np.tile(observations.scale_gains(spread) * spread, (len(grid), 1))
    logs, factors, whitened = whiten(covariances, gains, spread=spread)
    weights = normalise_weights(logs + np.array([chance for *_, chance in grid]))
    width = rows.shape[1]

    def build(one: int) -> tuple[Floats, Floats]:
        index, size, _, _ = grid[one]
        part = pairs[index][0]
        prior = size**2 * priors[index % len(kernels)]
        half = np.linalg.solve(factors[one], rows[:, part] @ prior)
        mean, covariance = np.zeros(width), np.zeros((width, width))
        mean[part] = half.T @ whitened[one]
        covariance[part, part] = prior - half.T @ half
        return mean, covariance

    centre, covariance = mix_normals(weights, build)
    variances = np.array([noise**2 for _, _, noise, _ in grid])
    noise = float(np.sqrt((1.0 + REFERENCE_NOISE) * weights @ variances))
    return SlotPosterior(tables=tables, mean=centre, root=find_root(covariance), noise=noise)


def _build_gram(rows: Floats, prior: Floats) -> Floats:
    gram: Floats = rows @ prior @ rows.T
    return gram


@functools.lru_cache(maxsize=16)
def _tabulate_curves(space: Space, *, length: float) -> Floats:
    """Return features of each coordinate by slot and choice, zero at the origin.

    The sum of their products is the kernel k(a, b) − k(a, 0) − k(0, b) + k(0, 0) of each coordinate, which is
    0 at the origin; the kernel of a slot is the sum over its coordinates.

    Returns:
        `(k · CURVES, n_slots, n_options)` for k coordinates.
    """
    return np.concatenate([_tabulate_one(table, length=length) for table in space.tables.coordinates])


def _tabulate_one(ratios: Floats, *, length: float) -> Floats:
    grid, places = np.unique(np.round(ratios, 9), return_inverse=True)
    points = np.concatenate([[0.0], grid])
    kernel = np.exp(-0.5 * ((points[:, None] - points[None, :]) / length) ** 2)
    anchored = kernel - kernel[:, :1] - kernel[:1, :] + kernel[0, 0]
    values, vectors = np.linalg.eigh(anchored[1:, 1:])
    curves = np.zeros((len(grid), CURVES))
    kept = min(CURVES, len(grid))
    curves[:, :kept] = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :kept]
    curves[grid == 0.0] = 0.0
    return np.moveaxis(curves[places.reshape(ratios.shape)], 2, 0)


@functools.lru_cache(maxsize=16)
def _build_slot_kernels(space: Space) -> tuple[Floats, ...]:
    """Return kernels over slots `(n_slots, n_slots)` of unit mean square over random allocations."""
    tables = space.tables
    halves = np.unique([find_slot_half(s.kind, s.modules) for s in space.slots], return_inverse=True)[1]
    depth = tables.depth.astype(np.float64)
    near = np.exp(-0.5 * ((depth[:, None] - depth[None, :]) / DEPTH_LENGTH) ** 2)
    kind = (tables.kinds[:, None] == tables.kinds[None, :]).astype(np.float64)
    half = (halves[:, None] == halves[None, :]).astype(np.float64)
    parts = (np.ones_like(near), half, kind, near, near * kind, np.eye(space.n_slots))
    curves = _tabulate_curves(space, length=RANK_LENGTHS[0])
    sample = flatten_basis(curves, space.sample_choices(SAMPLE, 0)).reshape(SAMPLE, len(curves), -1)
    uncounted = find_uncounted(space)
    # Slots of ranks and of scales, which use no limited resource, are independent.
    alike = (uncounted[:, None] == uncounted[None, :]).astype(np.float64)
    kernels = []
    for sharing in KERNEL_SHARES:
        kernel = alike * sum(share * part for share, part in zip(sharing, parts, strict=True))
        size = float(np.einsum("ncs,st,nct->n", sample, kernel, sample, optimize=True).mean())
        kernels.append(np.asarray(kernel) / max(size, 1e-12))
    return tuple(kernels)
