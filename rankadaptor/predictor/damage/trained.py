"""A model of damage that was meta-trained on records of other settings, ready for a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rankadaptor.corpus.single_changes import read_single_changes
from rankadaptor.errors import InputError
from rankadaptor.features.slot_features import SlotFeatures
from rankadaptor.predictor.damage.features import SMALLEST, DamageFeatures
from rankadaptor.predictor.damage.option_map import OptionMap, fit_option_map
from rankadaptor.predictor.damage.posterior import EXACT
from rankadaptor.predictor.damage.prior import SPREADS, DamagePrior
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.sweep_predictor import SweepPredictor, gather_damages

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

NAME = "slot_features"
SCHEMA = 1
CENTRE = float(np.log(0.1))
"""ln of the damage at which slope and curve are zero."""
START, USUAL, SETTINGS = 0.5, 0.25, 2.0
"""SD of the shared coefficients over settings at first; what it is drawn to, and the settings this counts."""
SIZES, RESTS = (0.1, 0.2, 0.4, 0.8), (0.03, 0.08, 0.2)
ROUNDS = 20
MOST = 400
"""Records of a setting that the prior is fitted on."""


@dataclass(frozen=True)
class Evidence:
    """What one setting contributes to meta-training.

    Attributes:
        space: Its space; limits do not matter.
        features: Its slot features.
        records: Its records, a sweep among them.
    """

    space: Space
    features: SlotFeatures
    records: Sequence[Record] = field(repr=False)


@dataclass(frozen=True)
class TrainedDamage:
    """What is known of any setting before its first record.

    Attributes:
        options: From slot features to slot values.
        prior: Over the corrections of their sum.
        card: What it was trained on.
    """

    options: OptionMap
    prior: DamagePrior
    card: Mapping[str, Any] = field(default_factory=dict)

    def start(self, space: Space, features: SlotFeatures, *, seed: int = 0) -> SweepPredictor:
        """Return the predictor of a setting."""
        return SweepPredictor(
            self.options.read_values(space, features), seed=seed, prior=self.prior, name=NAME
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return {
            "schema": SCHEMA,
            "options": dataclasses.asdict(self.options),
            "prior": dataclasses.asdict(self.prior),
            "card": dict(self.card),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild it from `to_json`.

        Raises:
            InputError: If it is of another schema, or a field is missing.
        """
        try:
            if data["schema"] != SCHEMA:
                raise InputError(f"model of schema {data['schema']!r}, this version reads {SCHEMA}.")
            prior: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in data["prior"].items()
            }
            return cls(OptionMap(**data["options"]), DamagePrior(**prior), data["card"])
        except (KeyError, TypeError) as error:
            raise InputError(f"no trained model of damage: {error!r}. Write it with to_json().") from error


def train_damage(evidence: Sequence[Evidence], *, seed: int = 0) -> TrainedDamage:
    """Learn the map of options and the prior from settings.

    The prior's means and spreads are those of the coefficients over settings (expectation maximisation); the
    sizes of single slots' coefficients and of the rest are those of largest marginal likelihood.

    Raises:
        InputError: If no setting is given.
    """
    if not evidence:
        raise InputError("no settings to train on. Give at least one with a sweep and other records.")
    options = fit_option_map(
        [(each.space, each.features, read_single_changes(each.space, each.records)) for each in evidence]
    )
    groups = [_read_setting(each, options, seed=seed) for each in evidence]
    best: tuple[float, dict[str, float], dict[str, float], float, float] | None = None
    for size in SIZES:
        for rest in RESTS:
            likelihood, means, spreads = _fit_shared(groups, size=size, rest=rest)
            if best is None or likelihood > best[0]:
                best = likelihood, means, spreads, size, rest
    assert best is not None
    _, means, spreads, size, rest = best
    prior = DamagePrior(
        means=means,
        spreads={**dict(SPREADS), **spreads},
        own=(size / 2, size, 2 * size),
        rest=(rest / 3, rest, 2 * rest),
        centre=CENTRE,
    )
    count = sum(len(each.records) for each in evidence)
    return TrainedDamage(options, prior, {"settings": len(evidence), "records": count})


@dataclass(frozen=True)
class _Group:
    """One setting: features, and ln D less ln S."""

    names: tuple[str, ...]
    shared: Floats
    own: Floats
    residuals: Floats


def _read_setting(evidence: Evidence, options: OptionMap, *, seed: int) -> _Group:
    space = evidence.space
    seen = {row: damage for (row, _), damage in gather_damages(space, evidence.records).items()}
    origin = np.asarray(space.origin)
    choices = np.array(list(seen), dtype=np.int64)
    damages = np.array(list(seen.values()))
    kept = np.flatnonzero((choices != origin).sum(axis=1) > 1)  # the sweep taught the map
    kept = np.random.default_rng(seed).permutation(kept)[:MOST]
    features = DamageFeatures.of(space, options.read_values(space, evidence.features))
    log, shared, own = features.describe(choices[kept], centre=CENTRE)
    residuals = np.log(np.maximum(damages[kept], SMALLEST)) - log
    return _Group(features.names, shared.astype(np.float64), own.astype(np.float64), residuals)


def _fit_shared(
    groups: Sequence[_Group], *, size: float, rest: float
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Return the log marginal likelihood, and means and spreads of the shared coefficients by name."""
    from scipy.linalg import cho_factor, cho_solve

    every = sorted({name for group in groups for name in group.names})
    count = len(every)
    parts = []
    for group in groups:
        covariance = size**2 * group.own @ group.own.T + (rest**2 + EXACT**2) * np.eye(len(group.residuals))
        factor = cho_factor(covariance, lower=True)
        places = [every.index(name) for name in group.names]
        full = np.zeros((len(group.residuals), count))
        full[:, places] = group.shared
        solved = cho_solve(factor, full)
        base = -0.5 * float(group.residuals @ cho_solve(factor, group.residuals))
        base -= float(np.log(np.diag(factor[0])).sum())
        present = np.zeros(count, dtype=np.bool_)
        present[places] = True
        parts.append((full.T @ solved, solved.T @ group.residuals, base, present))
    mean, variance = np.zeros(count), np.full(count, START**2)
    likelihood = 0.0
    for _ in range(ROUNDS):
        sums, squares, likelihood = np.zeros(count), np.zeros(count), 0.0
        seen = np.zeros(count)
        posteriors = []
        for gram, vector, base, present in parts:
            precision = gram + np.diag(1.0 / variance)
            spread = np.linalg.inv(precision)
            centre = spread @ (vector + mean / variance)
            posteriors.append((centre, np.diag(spread), present))
            likelihood += (
                base + 0.5 * float(centre @ precision @ centre) - 0.5 * float((mean**2 / variance).sum())
            )
            likelihood += 0.5 * float(np.linalg.slogdet(spread)[1] - np.log(variance).sum())
            sums += np.where(present, centre, 0.0)
            seen += present
        mean = sums / (seen + 1.0)
        for centre, spread, present in posteriors:
            squares += np.where(present, spread + (centre - mean) ** 2, 0.0)
        variance = (squares + SETTINGS * USUAL**2) / (seen + SETTINGS)
    spreads = np.sqrt(variance)
    return (
        likelihood,
        dict(zip(every, mean.tolist(), strict=True)),
        dict(zip(every, spreads.tolist(), strict=True)),
    )
