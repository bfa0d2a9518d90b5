"""Meta-training: an initialisation from which few records of a new setting suffice."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rankadaptor.errors import InputError, TrainingError
from rankadaptor.files import compute_digest
from rankadaptor.predictor.adaptation import (
    ALGORITHMS,
    Learner,
    call_network,
    is_learn2learn_installed,
    make_learner,
)
from rankadaptor.predictor.fitting import encode_inputs
from rankadaptor.predictor.meta_predictor import MetaPredictor
from rankadaptor.predictor.network import PerceptronEnsemble, weigh_errors
from rankadaptor.predictor.observations import Observations, gather_observations
from rankadaptor.progress import Progress

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus, Record
    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

SUPPORT_SIZES = (0, 2, 4, 8, 16, 32)
SETTINGS_PER_STEP = 4
MINIMUM_RECORDS = 4
Source: TypeAlias = "Corpus | Sequence[tuple[Space, Sequence[Record]]]"


@dataclass(frozen=True)
class Episodes:
    """One setting: inputs `(n, width + 1)` and gains in units of the setting's own spread `(n,)`."""

    name: str
    inputs: Tensor
    targets: Tensor
    spread: float


def meta_train(
    corpus: Source,
    *,
    seed: int = 0,
    algorithm: str = "maml",
    inner_steps: int = 5,
    inner_learning_rate: float = 0.02,
    epochs: int = 200,
    learning_rate: float = 1e-3,
    network: PerceptronEnsemble | None = None,
) -> MetaPredictor:
    """Meta-train the performance model over the settings of a corpus [RankAdaptor]_ [MAML]_.

    An episode takes one setting, adapts each member of the ensemble to a few of its records (its own draw, of
    a random size) and asks it for the others. Some episodes adapt to nothing: the initialisation itself must
    predict, which is what a search asks of it before its first record. Gains are in units of each setting's
    own spread, so that a setting with large losses does not drown the others. Settings marked `held_out` are
    never looked at.

    Args:
        corpus: A corpus, or pairs of a space and its records, one per setting.
        seed: Initialisation, order of settings and episodes.
        algorithm: `maml`, `first_order` or `meta_sgd`.
        inner_steps: Gradient steps of an episode's adaptation.
        inner_learning_rate: Their size; the start of the learned rates for `meta_sgd`.
        epochs: Passes over the settings.
        learning_rate: Adam's rate for the initialisation.
        network: Start from this ensemble, for other sizes or to train on; a fresh one if None.

    Raises:
        InputError: If the algorithm is unknown, or no setting has enough usable records.
        TrainingError: If the inner steps run away.
    """
    if algorithm not in ALGORITHMS or inner_steps < 1 or epochs < 1:
        raise InputError(
            f"algorithm={algorithm!r}, inner_steps={inner_steps}, epochs={epochs}: allowed are "
            f"{', '.join(ALGORITHMS)}, and at least one step and epoch."
        )
    network = (
        network.load(network.state_dict()) if network else PerceptronEnsemble(members=5, width=256, seed=seed)
    )
    settings, left_out = _prepare_settings(corpus, width=network.width)
    learner = make_learner(network, algorithm=algorithm, rate=inner_learning_rate)
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
        "corpus_digest": _name_source(corpus),
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
    return MetaPredictor(
        network=network.load(network.state_dict()),
        spread=float(np.exp(np.mean([np.log(setting.spread) for setting in settings]))),
        algorithm=algorithm,
        rate=inner_learning_rate,
        rates=tuple(rate.detach().clone() for rate in learner.rates),
        steps=inner_steps,
        seed=seed,
        card=card,
    )


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
                    f"meta-training broke down in epoch {len(losses)}: the inner steps run away. "
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


def _prepare_settings(corpus: Source, *, width: int) -> tuple[list[Episodes], list[str]]:
    left_out: list[str] = []
    settings: list[Episodes] = []
    for name, space, records, held_out in _list_settings(corpus):
        observations = gather_observations(space, records)
        if held_out or len(observations) < MINIMUM_RECORDS:
            reason = "held out" if held_out else f"only {len(observations)} usable allocations"
            logger.info("meta-train: setting %s left out (%s)", name, reason)
            left_out.append(name)
            continue
        settings.append(_prepare_setting(name, space, observations, width=width))
    if not settings:
        raise InputError(
            f"no setting has {MINIMUM_RECORDS} usable allocations to train on "
            f"(left out: {', '.join(left_out) or 'none'}). "
            "Measure more with `rankadaptor collect`."
        )
    return settings, left_out


def _prepare_setting(name: str, space: Space, observations: Observations, *, width: int) -> Episodes:
    spread = observations.spread
    targets = torch.from_numpy(observations.scale_gains(spread).astype(np.float32))
    return Episodes(name, encode_inputs(space, observations.values, width=width), targets, spread)


def _list_settings(corpus: Source) -> list[tuple[str, Space, Sequence[Record], bool]]:
    """List name, space, records and whether held out; runs of different length are settings of their own."""
    if isinstance(corpus, Sequence):
        given = [
            (f"setting-{index + 1}", space, records, False) for index, (space, records) in enumerate(corpus)
        ]
    else:
        held_out = set(corpus.names(held_out=True))
        given = [(n, corpus.space(n), corpus.records(n), n in held_out) for n in corpus.names()]
    split: list[tuple[str, Space, Sequence[Record], bool]] = []
    for name, space, records, left_out in given:
        lengths = sorted({record.steps for record in records})
        for steps in lengths or [0]:
            part = [record for record in records if record.steps == steps]
            split.append((f"{name} ({steps} steps)" if len(lengths) > 1 else name, space, part, left_out))
    return split


def _name_source(corpus: Source) -> str:
    if not isinstance(corpus, Sequence):
        return corpus.digest
    return compute_digest(
        [[space.digest, [[*r.values, repr(r.gain)] for r in records]] for space, records in corpus]
    )
