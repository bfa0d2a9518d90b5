"""Fitting an ensemble of networks to the records of one search, with cross-validation in the same pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rankadaptor.predictor.calibration import Calibration, assign_folds, calibrate
from rankadaptor.predictor.networks.perceptron_layers import Ensemble
from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats, Prediction

if TYPE_CHECKING:
    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

Train: TypeAlias = Callable[[Ensemble, Any, Tensor, Tensor], Sequence[dict[str, Tensor]]]
"""(network, inputs, targets (n,), weights (members, n)) → trained weights by name, one dict for each variant
of training to compare, the one with fewest steps first."""
PROBES = 128
LARGEST_OUTPUT = 1e6  # in spreads of gains; targets are about one
LARGEST_ERROR_SHARE = (
    0.9  # a later variant is chosen only if its error is below this share of the best before
)


@dataclass(frozen=True)
class FittedEnsemble:
    """Networks fitted to the records of one search.

    Attributes:
        network: The members.
        spread: Nats per token of one unit of their output.
        calibration: Shrinkage of their predictions.
    """

    network: Ensemble
    spread: float
    calibration: Calibration

    def predict(self, space: Space, choices: NDArray[np.int64]) -> Prediction:
        """Predict the gains of choices, shape `(n, n_slots)`; the draws are the members."""
        with torch.no_grad():
            inputs = self.network.encode(space, choices)
            outputs = self.network(inputs).numpy().astype(np.float64) * self.spread
        return self.calibration.apply(outputs.mean(axis=0), measure_disagreement(outputs), outputs)


def measure_disagreement(outputs: Floats) -> Floats:
    """Return the SD over members, shape `(n,)`, of outputs `(members, n)`."""
    return outputs.std(axis=0, ddof=1) if len(outputs) > 1 else np.zeros(outputs.shape[1])


def fit_ensemble(
    initial: Ensemble,
    space: Space,
    observations: Observations,
    *,
    train: Train,
    spread: float,
    folds: int,
    seed: int,
    zero_probability: float,
) -> FittedEnsemble:
    """Fit all observations and, in the same batch, all but each fold; left-out predictions calibrate the fit.

    Of several variants of training, the one that predicts left-out records best is kept. The records have
    different random weights for each member (a Bayesian bootstrap), so that the members disagree where the
    records are uninformative.
    """
    count, members = len(observations), initial.members
    fold = assign_folds(count, folds=folds, seed=seed)
    copies = 1 + (int(fold.max()) + 1 if count > 1 else 0)
    bootstrap = 0.5 + 0.5 * np.random.default_rng(seed).exponential(size=(members, count))
    weights = np.tile(bootstrap * np.sqrt(observations.counts), (copies, 1, 1))
    for left_out in range(copies - 1):
        weights[left_out + 1][:, fold == left_out] = 0.0
    inputs = initial.encode(space, observations.choices)
    targets = torch.from_numpy(observations.scale_gains(spread).astype(np.float32))
    network = initial.repeat(copies)
    variants = train(
        network, inputs, targets, torch.from_numpy(weights.reshape(-1, count).astype(np.float32))
    )
    variants = _drop_diverged(network, variants, initial.encode(space, space.sample_choices(PROBES, seed)))
    chosen, unseen = variants[0], None
    if copies > 1:
        outputs = [_predict_unseen(network, variant, inputs, fold=fold) * spread for variant in variants]
        errors = [float(((np.mean(o, axis=0) - observations.gains) ** 2).sum()) for o in outputs]
        index = 0
        for later in range(1, len(variants)):
            index = later if errors[later] < LARGEST_ERROR_SHARE * errors[index] else index
        chosen, unseen = variants[index], outputs[index]
    calibration = calibrate(
        observations.gains if unseen is not None else np.zeros(0),
        unseen.mean(axis=0) if unseen is not None else np.zeros(0),
        left_out_std=measure_disagreement(unseen) if unseen is not None else None,
        noise=observations.noise,
        zero_probability=zero_probability,
    )
    return FittedEnsemble(initial.load(chosen), spread, calibration)


def _drop_diverged(
    network: Ensemble, variants: Sequence[dict[str, Tensor]], probe: Any
) -> Sequence[dict[str, Tensor]]:
    """Drop variants that diverged, judged by outputs for other allocations; keep the start if all did."""
    sound = []
    for variant in variants:
        with torch.no_grad():
            outputs = torch.func.functional_call(cast(nn.Module, network), variant, (probe,))
        if bool(torch.isfinite(outputs).all()) and float(outputs.abs().max()) <= LARGEST_OUTPUT:
            sound.append(variant)
    if len(sound) < len(variants):
        logger.warning(
            "an online update diverged; %d of %d variants are dropped",
            len(variants) - len(sound),
            len(variants),
        )
    return sound or [dict(network.named_parameters())]


def _predict_unseen(
    network: Ensemble, weights: dict[str, Tensor], inputs: Any, *, fold: NDArray[np.int64]
) -> Floats:
    """Return the left-out prediction of each member for each record, `(members, n)`."""
    with torch.no_grad():
        outputs = (
            torch.func.functional_call(cast(nn.Module, network), weights, (inputs,))
            .numpy()
            .astype(np.float64)
        )
    copies = int(fold.max()) + 2
    by_copy = outputs.reshape(copies, -1, len(fold))
    unseen: Floats = by_copy[fold + 1, :, np.arange(len(fold))].T
    return unseen
