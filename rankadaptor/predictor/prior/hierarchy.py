"""A hierarchical Gaussian prior over gains, learned from the settings of a corpus by empirical Bayes.

A setting's gains are linear in features of the allocation (see `layout`), and its weights deviate from
weights that all settings share:

    gains of a setting = size · features · (shared + own) + noise
    shared ~ N(0, T),  own ~ N(0, D)        T and D diagonal, one variance for each family of weights

Noise has two parts: that of each allocation, and that of the reference, which is the same for all allocations
of a seed because gains are differences from it (see `noise`). Sizes, noises, the share of the second part, T
and D maximise the marginal likelihood of the corpus times vague priors; the shared weights then have a normal
posterior in closed form.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.prior.layout import build_layout, count_shared_families, list_families
from rankadaptor.predictor.prior.noise import build_noise_covariances

if TYPE_CHECKING:
    import torch

    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

STEPS = 60
VARIANCE, VARIANCE_WIDTH = np.log(0.02), 1.0  # prior of the logarithm of a family's variance: mean and SD
UNCOUNTED_VARIANCE = np.log(0.5)
"""The same mean for slots that use no resource with a limit; a corpus of ranks has no data on them."""
SIZE_WIDTH = 1.0  # prior SD of the logarithm of a setting's size around the spread of its gains
NOISE_SHARE, NOISE_WIDTH = np.log(0.4), 0.7  # prior of the logarithm of noise over size: mean and SD
REFERENCE_NOISE, REFERENCE_NOISE_WIDTH = np.log(0.3), 1.0
"""Prior of the logarithm of the reference's noise variance over an allocation's: mean and SD."""
LEAST_WIDTH = 0.4  # smallest SD of the size and the noise of a new setting
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The prior for a new setting.

    Attributes:
        mean: Means of the shared weights, `(n_shared,)`, in units of a setting's size.
        covariance: Covariance of the shared weights, `(n_shared, n_shared)`.
        own: Prior variance of a setting's own part by family, `(n_families,)`.
        size: Mean and SD of the logarithm of a setting's size in nats per token.
        noise: Mean and SD of the logarithm of noise over size.
        reference_noise: Noise variance of the reference over that of an allocation; `luck` in files.
        width: Factor on the SDs of a prediction before the first record; see `calibrate_width`.
    """

    mean: Floats
    covariance: Floats
    own: Floats
    size: tuple[float, float]
    noise: tuple[float, float]
    reference_noise: float
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class _Batch:
    """All settings as one batch, short ones padded with uninformative observations."""

    shared: torch.Tensor  # (settings, n, n_shared)
    gains: torch.Tensor  # (settings, n), nats per token
    kernels: torch.Tensor  # (settings, n_families, n, n)
    noise: torch.Tensor  # (settings, n, n), for a noise of one, without the reference's
    reference_noise: torch.Tensor  # (settings, n, n), the noise of the reference
    padding: torch.Tensor  # (settings, n, n), one on the diagonal where padded
    counts: torch.Tensor  # (settings,)
    spreads: torch.Tensor  # (settings,), logarithms
    repeats: torch.Tensor  # (settings, 2), logarithm of the noise between repeats, and its degrees of freedom


def fit_hierarchy(settings: Sequence[tuple[Space, Observations]], *, steps: int = STEPS) -> Hierarchy:
    """Fit the prior to settings, each with at least one observation."""
    import torch

    shared_count = count_shared_families()
    batch = _stack(settings)
    index = torch.from_numpy(build_layout(settings[0][0]).shared_families)
    shared = torch.full((shared_count,), VARIANCE, dtype=torch.float64, requires_grad=True)
    centre_own = torch.tensor(
        [UNCOUNTED_VARIANCE if name.startswith("uncounted.") else VARIANCE - 1.0 for name in list_families()],
        dtype=torch.float64,
    )
    own = centre_own.clone().requires_grad_()
    size = batch.spreads.clone().requires_grad_()
    noise = torch.full((len(settings),), NOISE_SHARE, dtype=torch.float64, requires_grad=True)
    reference_noise = torch.tensor(REFERENCE_NOISE, dtype=torch.float64, requires_grad=True)
    unknowns = [shared, own, size, noise, reference_noise]
    optimiser = torch.optim.LBFGS(
        unknowns, max_iter=steps, max_eval=2 * steps, history_size=20, line_search_fn="strong_wolfe"
    )

    def measure() -> torch.Tensor:
        optimiser.zero_grad()
        energy = _measure_energy(batch, index, *unknowns)[0]
        for values, centre, width in (
            (shared, VARIANCE, VARIANCE_WIDTH),
            (own, centre_own, VARIANCE_WIDTH),
            (size, batch.spreads, SIZE_WIDTH),
            (noise, NOISE_SHARE, NOISE_WIDTH),
            (reference_noise, REFERENCE_NOISE, REFERENCE_NOISE_WIDTH),
        ):
            energy = energy + 0.5 * (((values - centre) / width) ** 2).sum()
        energy.backward()  # type: ignore[no-untyped-call]
        return energy

    optimiser.step(measure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        _, precision, vector = _measure_energy(batch, index, *unknowns)
        roots = torch.exp(0.5 * shared)[index]
        inverse = torch.linalg.inv(precision)
        mean = roots * (inverse @ vector)
        covariance = roots[:, None] * inverse * roots[None, :]
    return Hierarchy(
        mean=np.ascontiguousarray(mean.numpy()),
        covariance=np.ascontiguousarray(covariance.numpy()),
        own=np.exp(own.detach().numpy()),
        size=_summarise(size.detach().numpy(), wide=SIZE_WIDTH),
        noise=_summarise(noise.detach().numpy(), wide=NOISE_WIDTH),
        reference_noise=float(reference_noise.detach().exp()),
    )


def _stack(settings: Sequence[tuple[Space, Observations]]) -> _Batch:
    import torch

    count, longest = len(settings), max(len(observations) for _, observations in settings)
    columns = len(build_layout(settings[0][0]).shared_families)
    shared = np.zeros((count, longest, columns))
    gains, noise = np.zeros((count, longest)), np.zeros((count, longest, longest))
    kernels = np.zeros((count, len(list_families()), longest, longest))
    reference_noise, padding = np.zeros((count, longest, longest)), np.zeros((count, longest, longest))
    repeats = np.zeros((count, 2))
    for row, (space, observations) in enumerate(settings):
        layout, used = build_layout(space), len(observations)
        rows, own_rows = layout.build_rows(observations.choices)
        shared[row, :used] = rows
        for part, families in ((rows, layout.shared_families), (own_rows, layout.own_families)):
            for family in np.unique(families):
                chosen = part[:, families == family]
                kernels[row, family, :used, :used] += chosen @ chosen.T
        gains[row, :used] = observations.scale_gains(observations.spread) * observations.spread
        noise[row, :used, :used], reference_noise[row, :used, :used] = build_noise_covariances(
            space, observations
        )
        padding[row, range(used, longest), range(used, longest)] = 1.0
        if observations.freedom and observations.order_noise:
            repeats[row] = np.log(observations.order_noise), observations.freedom
    return _Batch(
        shared=torch.from_numpy(shared),
        gains=torch.from_numpy(gains),
        kernels=torch.from_numpy(kernels),
        noise=torch.from_numpy(noise),
        reference_noise=torch.from_numpy(reference_noise),
        padding=torch.from_numpy(padding),
        counts=torch.tensor([len(observations) for _, observations in settings], dtype=torch.float64),
        spreads=torch.tensor([np.log(each.spread) for _, each in settings], dtype=torch.float64),
        repeats=torch.from_numpy(repeats),
    )


def _measure_energy(
    batch: _Batch,
    index: torch.Tensor,
    shared: torch.Tensor,
    own: torch.Tensor,
    size: torch.Tensor,
    noise: torch.Tensor,
    reference_noise: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return −log log likelihood, and precision and vector of the shared weights in units of their SD."""
    import torch

    roots = torch.exp(0.5 * shared)[index]
    # In units of each setting's size, so that no matrix is near 0; the likelihood has the Jacobian.
    scatter = torch.einsum("f,sfij->sij", torch.exp(own), batch.kernels)
    error = batch.noise + torch.exp(reference_noise) * batch.reference_noise
    scatter = scatter + torch.exp(2.0 * noise)[:, None, None] * error + batch.padding
    scatter = scatter + TINY * torch.eye(scatter.shape[1], dtype=torch.float64)
    factors = torch.linalg.cholesky(scatter)
    scaled = (batch.gains * torch.exp(-size)[:, None])[:, :, None]
    solved = torch.linalg.solve_triangular(
        factors, torch.cat([batch.shared * roots, scaled], dim=2), upper=False
    )
    rows, targets = solved[:, :, :-1].flatten(0, 1), solved[:, :, -1].flatten()
    precision = torch.eye(len(index), dtype=torch.float64) + rows.T @ rows
    vector = rows.T @ targets
    energy = 0.5 * (targets @ targets) + torch.log(torch.diagonal(factors, dim1=1, dim2=2)).sum()
    energy = energy + (batch.counts * size).sum()
    ratios = batch.repeats[:, 0] - noise - size
    energy = energy + (batch.repeats[:, 1] * (0.5 * torch.exp(2.0 * ratios) - ratios)).sum()
    factor = torch.linalg.cholesky(precision)
    solved = torch.linalg.solve_triangular(factor, vector[:, None], upper=False)
    energy = energy - 0.5 * (solved**2).sum() + torch.log(torch.diagonal(factor)).sum()
    return energy, precision, vector


def _summarise(values: Floats, *, wide: float) -> tuple[float, float]:
    """Return mean and SD for a new setting; with few settings the SD is near `wide`."""
    count = len(values)
    variance = (float(((values - values.mean()) ** 2).sum()) + 2.0 * wide**2) / (count + 1.0)
    return float(values.mean()), float(np.sqrt(max(variance, LEAST_WIDTH**2) * (1.0 + 1.0 / count)))
