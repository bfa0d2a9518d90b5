"""The paper's performance model, trained from scratch on the records of one search."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rankadaptor.predictor.calibration import ZERO_PROBABILITY
from rankadaptor.predictor.networks.encoding import WIDTH, encode_choices
from rankadaptor.predictor.networks.fitting import FittedEnsemble, fit_ensemble
from rankadaptor.predictor.networks.perceptron_layers import (
    HIDDEN,
    Ensemble,
    PerceptronEnsemble,
    weigh_errors,
)
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Prediction, predict_without_records

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space


@dataclass(frozen=True)
class Perceptron:
    """Five fully connected layers on the rank vector and the number of slots [RankAdaptor]_.

    An ensemble of them, whose disagreement is the standard deviation. Without records it predicts 0 ± 1 nat
    for every allocation; `MetaNetwork` is the same model with a meta-trained initialisation.

    Attributes:
        members: Perceptrons in the ensemble.
        width: The largest number of slots.
        hidden: Units per hidden layer.
        steps: Full-batch Adam steps of an update.
        learning_rate: Learning rate of Adam.
        weight_decay: Decoupled weight decay, as in AdamW.
        folds: Left-out fits that calibrate the predictions.
        seed: Initialisation, bootstrap weights and folds.
    """

    members: int = 5
    width: int = WIDTH
    hidden: int = HIDDEN
    steps: int = 60
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    folds: int = 8
    seed: int = 0
    fitted: FittedEnsemble | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="perceptron", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`.

        Raises:
            InputError: If the space has more slots than `width`.
        """
        array = read_choices(space, allocations)
        if self.fitted is not None:
            return self.fitted.predict(space, array)
        encode_choices(space, array[:0], width=self.width)
        return predict_without_records(space, array)

    def update(self, space: Space, records: Sequence[Record]) -> Perceptron:
        """Train a fresh ensemble on all records; see `Predictor`.

        Raises:
            InputError: If the space has more slots than `width`, or a record does not belong to it.
        """
        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, fitted=None)
        initial = PerceptronEnsemble(
            members=self.members, width=self.width, hidden=self.hidden, seed=self.seed
        )
        fitted = fit_ensemble(
            initial,
            space,
            observations,
            train=self._train,
            spread=observations.spread,
            folds=self.folds,
            seed=self.seed,
            zero_probability=ZERO_PROBABILITY,
        )
        return dataclasses.replace(self, fitted=fitted)

    def _train(
        self, network: Ensemble, inputs: Any, targets: Tensor, weights: Tensor
    ) -> list[dict[str, Tensor]]:
        optimiser = torch.optim.AdamW(
            [weight for _, weight in network.named_parameters()],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,
        )
        for _ in range(self.steps):
            optimiser.zero_grad(set_to_none=True)
            weigh_errors(network(inputs), targets, weights).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return [dict(network.named_parameters())]
