"""Gather all results of a corpus, by setting."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.accuracy import Accuracy, compare_accuracy
from experiments.evidence.components import Components, separate_variance
from experiments.evidence.correlation import Correlation, correlate
from experiments.evidence.curves import RecoveryCurve, build_recovery_curve
from experiments.evidence.description import describe_setting
from experiments.evidence.factors import Factors, explain_gains
from experiments.evidence.fidelity import Fidelity, compare_lengths
from experiments.evidence.observations import Gains, choose_length, gather_gains
from experiments.evidence.recipes import (
    Exponent,
    OwnRates,
    RateCurve,
    build_rate_curve,
    compare_exponents,
    compare_own_rates,
)
from experiments.evidence.regimes import Regime, correct_for_number, decide_regime
from experiments.evidence.winners import Winner, find_winner
from rankadaptor.components.adapter import read_sizes
from rankadaptor.files import compute_digest

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SettingEvidence:
    """Results of one setting; parts that were not measured are None or empty.

    Attributes:
        name: The setting.
        held_out: Whether it is held out from training predictors.
        traits: See `describe_setting`.
        records: Number of records, failed ones and other lengths included.
        failed: Number of failed records.
        gains: Gains at the length with the most allocations.
        components: Noise and true spread.
        between_seeds: Correlation of gains under the screening seed with mean gains under the other seeds,
            over repeated allocations.
        text_noise: Standard error of a paired gain from the sampling of held-out sequences, median over
            allocations, nats per token.
        factors: Explained variance of the gains.
        winner: The best allocation.
        regime: The decision.
        sure_among_all: Whether the gain is significant after correction for the number of settings.
        fidelity: Shorter lengths against the longest.
        rates: Uniform over learning rates.
        own_rates: Whether the order holds at each allocation's best rate.
        exponents: Comparison of scaling exponents.
        curve: Recovery of uniform.
        accuracy: Benchmarks.
    """

    name: str
    held_out: bool
    traits: Mapping[str, str]
    records: int
    failed: int
    gains: Gains | None
    components: Components | None
    between_seeds: Correlation | None
    text_noise: float | None
    factors: Factors | None
    winner: Winner | None
    regime: Regime
    sure_among_all: bool
    fidelity: tuple[Fidelity, ...]
    rates: RateCurve | None
    own_rates: OwnRates | None
    exponents: tuple[Exponent, ...]
    curve: RecoveryCurve | None
    accuracy: Accuracy | None


@dataclass(frozen=True)
class Evidence:
    """Results of a corpus.

    Attributes:
        digest: Digest of all records, settings and studies that it was made from.
        settings: One entry per setting, by name.
    """

    digest: str
    settings: tuple[SettingEvidence, ...]


def gather_evidence(corpus: Corpus) -> Evidence:
    """Analyse every setting of a corpus.

    Raises:
        CorpusError: If a study or a file of sequence losses is not sound.
    """
    found = [_gather_setting(corpus, name) for name in corpus.names()]
    chances = {
        entry.name: entry.winner.estimate.p_value
        for entry in found
        if entry.winner is not None and entry.winner.estimate is not None
    }
    sure = correct_for_number(chances)
    settings = tuple(
        SettingEvidence(**{**entry.__dict__, "sure_among_all": entry.name in sure}) for entry in found
    )
    studies = [dataclasses.asdict(corpus.studies(name)) for name in corpus.names()]
    return Evidence(compute_digest([corpus.digest, studies]), settings)


def _gather_setting(corpus: Corpus, name: str) -> SettingEvidence:
    logger.info("evidence: %s", name)
    setting, space, study = corpus.setting(name), corpus.space(name), corpus.studies(name)
    records = corpus.records(name)
    steps = choose_length(corpus, name)
    gains = None if steps is None else gather_gains(corpus, name, steps=steps)
    components = factors = winner = between = noise = None
    if gains is not None:
        components = separate_variance(gains.gains, screen=gains.screen)
        factors = explain_gains(space, gains.values[gains.screened], gains.screened_gains)
        winner = find_winner(gains, components)
        between = _correlate_seeds(gains)
        noise = _measure_text_noise(corpus, name, gains)
    tuned = setting.recipe.get("learning_rate")
    return SettingEvidence(
        name=name,
        held_out=setting.held_out,
        traits=describe_setting(setting, space),
        records=len(records),
        failed=sum(record.status == "failed" for record in records),
        gains=gains,
        components=components,
        between_seeds=between,
        text_noise=noise,
        factors=factors,
        winner=winner,
        regime=decide_regime(
            winner,
            pruned_loss=setting.pruned_loss,
            loss_uniform=None if gains is None else gains.loss_uniform,
        ),
        sure_among_all=False,
        fidelity=compare_lengths(corpus, name),
        rates=build_rate_curve(study, reference=read_sizes(space.reference()), tuned=tuned),
        own_rates=compare_own_rates(study, reference=read_sizes(space.reference()), tuned=tuned),
        exponents=compare_exponents(study, reference=read_sizes(space.reference())),
        curve=build_recovery_curve(corpus, name, study),
        accuracy=compare_accuracy(study),
    )


def _correlate_seeds(gains: Gains) -> Correlation | None:
    others = np.delete(gains.gains, gains.screen, axis=1)
    repeated = gains.screened & np.isfinite(others).any(axis=1)
    if not repeated.any():
        return None
    return correlate(gains.gains[repeated, gains.screen], np.nanmean(others[repeated], axis=1))


def _measure_text_noise(corpus: Corpus, name: str, gains: Gains) -> float | None:
    losses = corpus.read_sequence_losses(name)
    seed = int(gains.seeds[gains.screen])
    uniform = losses.get((gains.space.reference().values, seed, gains.steps))
    if uniform is None:
        return None
    errors = []
    for values in gains.values[gains.screened]:
        own = losses.get((tuple(int(value) for value in values), seed, gains.steps))
        if own is not None and len(own) == len(uniform) > 1:
            paired = np.asarray(uniform) - np.asarray(own)
            errors.append(float(paired.std(ddof=1)) / np.sqrt(len(paired)))
    return float(np.median(errors)) if errors else None
