"""Fitting an ensemble of networks to the records of one search, and judging the fit in the same pass."""

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

# (network, inputs, targets (n,), weights (members, n)) -> trained weights by name, one dict
# for each way of training that is worth comparing, the most cautious first
Train: TypeAlias = Callable[[Ensemble, Any, Tensor, Tensor], Sequence[dict[str, Tensor]]]
PROBES = 128
LARGEST_OUTPUT = 1e6  # in spreads of gains, whose targets are about one
BOLDNESS = 0.9  # a bolder way must leave this share of the error at most


@dataclass(frozen=True)
class FittedEnsemble:
    """Networks that have seen some records.

    Attributes:
        network: The members.
        spread: Nats per token of one unit of their output.
        calibration: How far they may be believed.
    """

    network: Ensemble
    spread: float
    calibration: Calibration

    def predict(self, space: Space, choices: NDArray[np.int64]) -> Prediction:
        """Predict the gains of options, shape `(n, n_slots)`; the draws are the members."""
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
    sceptic: float,
) -> FittedEnsemble:
    """Fit all observations and, side by side, all but each fold; the folds' predictions calibrate the fit.

    Of several ways of training, the one that predicts left-out records best is kept. The members see the
    records with different random weights (a Bayesian bootstrap), so that they disagree where the records say
    little.
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
    ways = train(network, inputs, targets, torch.from_numpy(weights.reshape(-1, count).astype(np.float32)))
    ways = _keep_sound(network, ways, initial.encode(space, space.sample_choices(PROBES, seed)))
    chosen, unseen = ways[0], None
    if copies > 1:
        outputs = [_predict_unseen(network, way, inputs, fold=fold) * spread for way in ways]
        errors = [float(((np.mean(o, axis=0) - observations.gains) ** 2).sum()) for o in outputs]
        index = 0
        for bolder in range(1, len(ways)):
            index = bolder if errors[bolder] < BOLDNESS * errors[index] else index
        chosen, unseen = ways[index], outputs[index]
    calibration = calibrate(
        observations.gains if unseen is not None else np.zeros(0),
        unseen.mean(axis=0) if unseen is not None else np.zeros(0),
        left_out_std=measure_disagreement(unseen) if unseen is not None else None,
        noise=observations.noise,
        sceptic=sceptic,
    )
    return FittedEnsemble(initial.load(chosen), spread, calibration)


def _keep_sound(
    network: Ensemble, ways: Sequence[dict[str, Tensor]], probe: Any
) -> Sequence[dict[str, Tensor]]:
    """Leave out ways whose steps ran away, told by what they say of other allocations; never all of them."""
    sound = []
    for way in ways:
        with torch.no_grad():
            outputs = torch.func.functional_call(cast(nn.Module, network), way, (probe,))
        if bool(torch.isfinite(outputs).all()) and float(outputs.abs().max()) <= LARGEST_OUTPUT:
            sound.append(way)
    if len(sound) < len(ways):
        logger.warning(
            "an online update ran away; %d of %d ways are left out", len(ways) - len(sound), len(ways)
        )
    return sound or [dict(network.named_parameters())]


def _predict_unseen(
    network: Ensemble, weights: dict[str, Tensor], inputs: Any, *, fold: NDArray[np.int64]
) -> Floats:
    """Return what each member says of each record, `(members, n)`, from the copy that has not seen it."""
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
