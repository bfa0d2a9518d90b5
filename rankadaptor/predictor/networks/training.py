"""Meta-training of networks: an initialisation that adapts to a new setting with few records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from rankadaptor.defaults import META_TRAINING
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.predictor.evidence import Source, choose_trainable, compute_source_digest, list_evidence
from rankadaptor.predictor.networks.adaptation import (
    ALGORITHMS,
    Learner,
    call_network,
    is_learn2learn_installed,
    make_learner,
)
from rankadaptor.predictor.networks.meta_network import MetaNetwork
from rankadaptor.predictor.networks.perceptron_layers import Ensemble, PerceptronEnsemble, weigh_errors
from rankadaptor.predictor.networks.slot_network import SlotNetwork
from rankadaptor.progress import Progress

logger = logging.getLogger(__name__)

SUPPORT_SIZES = (0, 2, 4, 8, 16, 32)
SETTINGS_PER_STEP = 4
NETWORKS = ("slots", "perceptron")


@dataclass(frozen=True)
class Episodes:
    """One setting: inputs of the network, and gains in units of the setting's own spread `(n,)`."""

    name: str
    inputs: Any
    targets: Tensor
    spread: float


def train_network(
    corpus: Source,
    *,
    seed: int = 0,
    algorithm: str = META_TRAINING.algorithm,
    inner_steps: int = META_TRAINING.inner_steps,
    inner_learning_rate: float = META_TRAINING.inner_learning_rate,
    epochs: int = META_TRAINING.epochs,
    learning_rate: float = META_TRAINING.learning_rate,
    network: Ensemble | str = "slots",
) -> MetaNetwork:
    """Meta-train a network over the settings of a corpus [RankAdaptor]_ [MAML]_.

    An episode takes one setting, adapts each member of the ensemble to a few of its records (a draw of random
    size for each member) and predicts the others. Some episodes have no adaptation, so that the
    initialisation itself learns to predict, as it must before the first record of a search. Gains are in
    units of each setting's own spread, so that settings with large losses do not dominate. Settings marked
    `held_out` are not used.

    Args:
        corpus: A corpus, or pairs of a space and its records, one per setting.
        seed: Initialisation, order of settings and episodes.
        algorithm: `maml`, `first_order`, `meta_sgd` or `anil`.
        inner_steps: Gradient steps of an episode's adaptation.
        inner_learning_rate: Learning rate of these steps; for `meta_sgd` the initial value of the learned
            rates.
        epochs: Passes over the settings.
        learning_rate: Learning rate of Adam for the initialisation.
        network: `slots` (reads a space slot by slot), `perceptron` (the paper's model on the rank vector), or
            an ensemble to start from.

    Raises:
        InputError: If a name is unknown, or no setting has enough usable records.
        TrainingError: If the inner steps diverge.
    """
    if algorithm not in ALGORITHMS or inner_steps < 1 or epochs < 1:
        raise InputError(
            f"algorithm={algorithm!r}, inner_steps={inner_steps}, epochs={epochs}: allowed are "
            f"{', '.join(ALGORITHMS)}, and at least one step and epoch."
        )
    start = make_network(network, seed=seed)
    chosen, left_out = choose_trainable(list_evidence(corpus, all_lengths=True))
    settings = []
    for each in chosen:
        observations = each.observations
        targets = torch.from_numpy(observations.scale_gains(observations.spread).astype(np.float32))
        inputs = start.encode(each.space, observations.choices)
        settings.append(Episodes(each.name, inputs, targets, observations.spread))
    learner = make_learner(cast(nn.Module, start), algorithm=algorithm, rate=inner_learning_rate)
    losses = _train(
        learner,
        settings,
        steps=inner_steps,
        epochs=epochs,
        rate=inner_learning_rate,
        learning_rate=learning_rate,
        seed=seed,
    )
    count = sum(len(setting.targets) for setting in settings)
    card: dict[str, Any] = {
        "summary": f"{count} allocations in {len(settings)} settings",
        "settings": {setting.name: len(setting.targets) for setting in settings},
        "not_trained_on": left_out,
        "corpus_digest": compute_source_digest(corpus),
        "backend": "learn2learn" if is_learn2learn_installed() else "torch.func",
        "algorithm": algorithm,
        "seed": seed,
        "inner_steps": inner_steps,
        "inner_learning_rate": inner_learning_rate,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "query_error_first": losses[0],
        "query_error_last": losses[-1],
    }
    return MetaNetwork(
        network=start.load(start.state_dict()),
        spread=float(np.exp(np.mean([np.log(setting.spread) for setting in settings]))),
        algorithm=algorithm,
        rate=inner_learning_rate,
        rates=tuple(rate.detach().clone() for rate in learner.rates),
        steps=inner_steps,
        seed=seed,
        card=card,
    )


def make_network(network: Ensemble | str, *, seed: int) -> Ensemble:
    """Make a fresh ensemble by name, or a copy of a given one.

    Raises:
        InputError: If the name is unknown.
    """
    if not isinstance(network, str):
        return network.load(network.state_dict())
    if network not in NETWORKS:
        raise InputError(f"network={network!r}: allowed are {', '.join(NETWORKS)}, or an ensemble.")
    if network == "slots":
        return SlotNetwork(members=5, seed=seed)
    return PerceptronEnsemble(members=5, width=256, seed=seed)


def _train(
    learner: Learner,
    settings: Sequence[Episodes],
    *,
    steps: int,
    epochs: int,
    rate: float,
    learning_rate: float,
    seed: int,
) -> list[float]:
    """Train in place; return each epoch's mean query error, in units of the settings' spreads squared."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(list(learner.parameters()), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, eta_min=learning_rate / 10)
    losses = []
    with Progress("meta-train", epochs, unit="epochs") as progress:
        for _ in range(epochs):
            order, total = rng.permutation(len(settings)), 0.0
            for start in range(0, len(order), SETTINGS_PER_STEP):
                batch = [settings[index] for index in order[start : start + SETTINGS_PER_STEP]]
                optimiser.zero_grad(set_to_none=True)
                for setting in batch:
                    error = _run_episode(learner, setting, steps=steps, rng=rng)
                    (error / len(batch)).backward()  # type: ignore[no-untyped-call]
                    total += float(error.detach())
                torch.nn.utils.clip_grad_norm_(list(learner.parameters()), 10.0)
                optimiser.step()
            schedule.step()
            members = getattr(learner.network, "members", 1)
            losses.append(total / len(settings) / int(members))
            if not np.isfinite(losses[-1]):
                raise TrainingError(
                    f"meta-training diverged in epoch {len(losses)}, in the inner steps. "
                    f"Use a smaller inner_learning_rate, for example {rate / 4:g} instead of {rate:g}.",
                    step=len(losses),
                )
            progress.advance(note=f"query error {losses[-1]:.3f}")
    return losses


def _run_episode(learner: Learner, setting: Episodes, *, steps: int, rng: np.random.Generator) -> Tensor:
    """Adapt each member to its own support records and return the sum of their errors on the others."""
    members, count = int(getattr(learner.network, "members", 1)), len(setting.targets)
    size = int(rng.choice([s for s in SUPPORT_SIZES if s <= count // 2]))
    support = torch.zeros(members, count)
    for member in range(members):
        support[member, rng.permutation(count)[:size]] = 1.0

    def measure_support(forward: Any) -> Tensor:
        return weigh_errors(forward(setting.inputs), setting.targets, support)

    weights = learner.adapt(measure_support, steps=steps if size else 0)
    outputs = call_network(learner.network, weights, setting.inputs)
    return weigh_errors(outputs, setting.targets, 1.0 - support)
