"""Meta-training of the predictor on a corpus."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rankadaptor.defaults import META_TRAINING
from rankadaptor.errors import InputError
from rankadaptor.predictor.evidence import Source, choose_trainable, compute_source_digest, list_evidence
from rankadaptor.predictor.prior.hierarchy import fit_hierarchy
from rankadaptor.predictor.prior.meta_predictor import MetaPredictor
from rankadaptor.predictor.prior.width import calibrate_width

if TYPE_CHECKING:
    from rankadaptor.predictor.networks.meta_network import MetaNetwork

logger = logging.getLogger(__name__)

MODELS = ("hierarchy", "slots", "perceptron")


def meta_train(
    corpus: Source,
    *,
    seed: int = 0,
    model: str = META_TRAINING.model,
    algorithm: str = META_TRAINING.algorithm,
    inner_steps: int = META_TRAINING.inner_steps,
    inner_learning_rate: float = META_TRAINING.inner_learning_rate,
    epochs: int = META_TRAINING.epochs,
    learning_rate: float = META_TRAINING.learning_rate,
) -> MetaPredictor | MetaNetwork:
    """Meta-train a predictor on the settings of a corpus [RankAdaptor]_.

    Settings marked `held_out` are not used.

    Args:
        corpus: A corpus, or pairs of a space and its records, one per setting.
        seed: Initialisation and order of the settings.
        model: `hierarchy` (a Gaussian prior over the weights of a linear model, conditioned in closed form),
            or a network meta-trained by gradient steps: `slots` reads a space slot by slot, `perceptron` is
            the paper's model on the rank vector.
        algorithm: For the networks: `maml`, `first_order`, `meta_sgd` or `anil`.
        inner_steps: For the networks: gradient steps of an episode's adaptation.
        inner_learning_rate: For the networks: learning rate of these steps.
        epochs: For the networks: passes over the settings.
        learning_rate: For the networks: learning rate of Adam.

    Raises:
        InputError: If a name is unknown, or no setting has enough usable records.
        TrainingError: If the inner steps of a network diverge.
    """
    if model not in MODELS:
        raise InputError(f"model={model!r}: allowed are {', '.join(MODELS)}.")
    if model != "hierarchy":
        from rankadaptor.predictor.networks.training import train_network

        return train_network(
            corpus,
            seed=seed,
            algorithm=algorithm,
            inner_steps=inner_steps,
            inner_learning_rate=inner_learning_rate,
            epochs=epochs,
            learning_rate=learning_rate,
            network=model,
        )
    chosen, left_out = choose_trainable(list_evidence(corpus))
    data = [(each.space, each.observations) for each in chosen]
    count = sum(len(observations) for _, observations in data)
    logger.info("meta-train: %d allocations in %d settings", count, len(data))
    card: dict[str, Any] = {
        "summary": f"{count} allocations in {len(data)} settings",
        "settings": {
            each.name: len(observations) for each, (_, observations) in zip(chosen, data, strict=True)
        },
        "not_trained_on": left_out,
        "corpus_digest": compute_source_digest(corpus),
    }
    return MetaPredictor(hierarchy=calibrate_width(fit_hierarchy(data), data), seed=seed, card=card)
