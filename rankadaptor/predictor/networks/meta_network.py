"""A network with a meta-trained initialisation, adapted to the records of a search by gradient steps."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from rankadaptor.predictor import storage
from rankadaptor.predictor.calibration import (
    LARGEST_STRETCH,
    ZERO_PROBABILITY_PRETRAINED,
    Calibration,
    calibrate,
)
from rankadaptor.predictor.networks.adaptation import make_learner
from rankadaptor.predictor.networks.fitting import FittedEnsemble, fit_ensemble
from rankadaptor.predictor.networks.perceptron_layers import Ensemble, PerceptronEnsemble, weigh_errors
from rankadaptor.predictor.networks.slot_network import SlotNetwork
from rankadaptor.predictor.observations import Observations, gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Prediction

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

LENGTHS = (1, 4, 16)  # factors on the steps; a setting unlike the corpus needs more than meta-training used
LEAST_ALLOCATIONS = 8  # allocations from which longer updates are tried
PRIOR_RECORDS = 2.0  # weight of the corpus's spread of gains, in records of the search

KIND = "rankadaptor.MetaNetwork"
"""Names this model in `predictor.json`."""


@dataclass(frozen=True)
class MetaNetwork:
    """A meta-trained network that learns online [RankAdaptor]_ [MAML]_.

    `train_network` meta-trains one on a corpus: the paper's perceptron on the rank vector, or the network
    that reads a space slot by slot. Before the first record of a search the initialisation predicts; each
    `update` takes a fixed number of gradient steps from the initialisation on all records of the search. From
    eight allocations on it also tries four and sixteen times as many steps and keeps them if they predict
    left-out records clearly better, which helps in settings unlike the corpus.

    Attributes:
        network: The meta-trained initialisation, an ensemble.
        spread: Typical size of a gain in the corpus, nats per token.
        algorithm: `maml`, `first_order`, `meta_sgd` or `anil`.
        rate: Learning rate of an online step.
        rates: One learned rate per weight tensor, for `meta_sgd`.
        steps: Gradient steps of an update, as many as in meta-training.
        folds: Left-out fits that calibrate the predictions.
        seed: Bootstrap weights and folds.
        card: Facts of the training, for people: settings, records, corpus digest, losses.
    """

    network: Ensemble
    spread: float
    algorithm: str = "maml"
    rate: float = 0.05
    rates: tuple[Tensor, ...] = ()
    steps: int = 5
    folds: int = 8
    seed: int = 0
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    fitted: FittedEnsemble | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = "meta"
    pretrained: bool = dataclasses.field(default=True, init=False)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the initialisation (safetensors) and its description (JSON); online updates are not saved.

        Raises:
            StorageError: If the folder cannot be written.
        """
        state = self.network.state_dict()
        arrays = {f"network.{name}": tensor.detach().numpy() for name, tensor in state.items()}
        arrays |= {f"rates.{index}": tensor.detach().numpy() for index, tensor in enumerate(self.rates)}
        description = {
            "kind": KIND,
            "network": {"kind": self.network.kind, **self.network.settings},
            "spread": self.spread,
            "online": {
                "algorithm": self.algorithm,
                "rate": self.rate,
                "steps": self.steps,
                "folds": self.folds,
                "seed": self.seed,
            },
        }
        storage.write_predictor(Path(folder).expanduser(), arrays, description=description, card=self.card)

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: storage.Arrays) -> Self:
        """Rebuild a network from the description and arrays that `save_pretrained` wrote."""
        shape = dict(description["network"])
        network: Ensemble = (
            SlotNetwork(**shape)
            if shape.pop("kind", PerceptronEnsemble.kind) == SlotNetwork.kind
            else PerceptronEnsemble(**shape)
        )
        names = [name for name in arrays if name.startswith("network.")]
        network.load_state_dict(
            {name.removeprefix("network."): torch.from_numpy(arrays[name]) for name in names}
        )
        count = sum(name.startswith("rates.") for name in arrays)
        return cls(
            network=network,
            spread=float(description["spread"]),
            rates=tuple(torch.from_numpy(arrays[f"rates.{index}"]) for index in range(count)),
            card=description["card"],
            **description["online"],
        )

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`.

        Raises:
            InputError: If the space has more slots than the network's width.
        """
        fitted = self.fitted or FittedEnsemble(self.network, self.spread, _calibrate_without_records())
        return fitted.predict(space, read_choices(space, allocations))

    def update(self, space: Space, records: Sequence[Record]) -> MetaNetwork:
        """Adapt the meta-trained initialisation to all records; see `Predictor`.

        Raises:
            InputError: If the space has more slots than the network's width, or a record does not belong to
                it.
        """
        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, fitted=None)
        fitted = fit_ensemble(
            self.network,
            space,
            observations,
            train=self._adapt,
            spread=blend_spread(observations, self.spread),
            folds=self.folds,
            seed=self.seed,
            zero_probability=ZERO_PROBABILITY_PRETRAINED,
        )
        return dataclasses.replace(self, fitted=fitted)

    def _adapt(
        self, network: Ensemble, inputs: Any, targets: Tensor, weights: Tensor
    ) -> list[dict[str, Tensor]]:
        # First-order here changes nothing but the cost: no outer step follows.
        algorithm = self.algorithm if self.algorithm in ("meta_sgd", "anil") else "first_order"
        learner = make_learner(cast(nn.Module, network), algorithm=algorithm, rate=self.rate)
        times = network.members // self.network.members
        for rate, learned in zip(learner.rates, self.rates, strict=True):
            rate.data = learned.repeat(times, 1, 1)
        return [
            learner.adapt(
                lambda forward: weigh_errors(forward(inputs), targets, weights), steps=factor * self.steps
            )
            for factor in (LENGTHS if len(targets) >= LEAST_ALLOCATIONS else LENGTHS[:1])
        ]


def _calibrate_without_records() -> Calibration:
    """Return the calibration before the first record; the SD is stretched, as members agree too much."""
    return dataclasses.replace(
        calibrate(np.zeros(0), np.zeros(0), zero_probability=ZERO_PROBABILITY_PRETRAINED),
        stretch=LARGEST_STRETCH,
    )


def blend_spread(observations: Observations, prior: float) -> float:
    """Return the spread of a search's gains, shrunk towards that of the corpus while records are few."""
    count = len(observations)
    logs = (count * np.log(observations.spread) + PRIOR_RECORDS * np.log(prior)) / (count + PRIOR_RECORDS)
    return float(np.exp(logs))
