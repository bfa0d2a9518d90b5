"""The predictors that are compared, by name: each made for one setting from training on others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.performance_model.cases import Case
from rankadaptor.features import SlotValues
from rankadaptor.features.slot_features import FISHER, REMOVED, ROUNDED, TAYLOR, TOKENWISE
from rankadaptor.predictor.baselines.boosted_trees import BoostedTrees
from rankadaptor.predictor.baselines.gaussian_process import GaussianProcess
from rankadaptor.predictor.baselines.ridge import Ridge
from rankadaptor.predictor.damage.option_map import OptionMap
from rankadaptor.predictor.damage.trained import TrainedDamage, train_damage
from rankadaptor.predictor.observations import read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction, Predictor
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.search import estimate_slot_values

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Make = Callable[[Case, TrainedDamage], Predictor]

PENALTY = 0.1
"""Penalty of the ridge on terms, relative to the mean square of a column."""
TRAINED, SWEPT = "slot features, meta-trained", "sweep, corrected"


@dataclass(frozen=True)
class FixedSum:
    """Predicts that the sum of values of options is the damage; learns nothing from records.

    Attributes:
        values: `(n_slots, n_options)`, less is better.
    """

    values: Floats = dataclasses.field(repr=False)
    name: str = "sum"
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict; see `Predictor`."""
        choices = read_choices(space, allocations)
        total = self.values[space.tables.columns, choices].sum(axis=1)
        origin = (choices == np.asarray(space.origin)).all(axis=1)
        return Prediction(mean=np.where(origin, 0.0, -total), std=np.where(origin, 0.0, np.abs(total)))

    def update(self, space: Space, records: Sequence[Record]) -> FixedSum:
        """Return itself; see `Predictor`."""
        del space, records
        return self


@dataclass(frozen=True)
class RidgeOnTerms:
    """Ridge regression of the divergence on each slot's value from a sweep, penalised towards their sum.

    Attributes:
        values: `(n_slots, n_options)` slot values.
        factors: Coefficients less 1, `(n_slots,)`; None before the first record.
    """

    values: Floats = dataclasses.field(repr=False)
    factors: Floats | None = dataclasses.field(default=None, repr=False)
    name: str = "ridge on terms"
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict; see `Predictor`."""
        choices = read_choices(space, allocations)
        terms = self.values[space.tables.columns, choices]
        total = terms @ (1.0 + (self.factors if self.factors is not None else np.zeros(terms.shape[1])))
        return Prediction(mean=-total, std=np.abs(terms.sum(axis=1)))

    def update(self, space: Space, records: Sequence[Record]) -> RidgeOnTerms:
        """Fit the factors; see `Predictor`."""
        sound = [record for record in records if record.gain is not None]
        if not sound:
            return dataclasses.replace(self, factors=None)
        choices = np.array([space.find_choices(record.values) for record in sound])
        terms = self.values[space.tables.columns, choices]
        damages = -np.array([record.gain for record in sound], dtype=np.float64)
        scale = 1.0 / np.maximum(damages, 1e-6)  # errors count relative to the damage
        design, target = terms * scale[:, None], (damages - terms.sum(axis=1)) * scale
        gram = design.T @ design
        penalty = PENALTY * np.trace(gram) / max(np.count_nonzero(np.diag(gram)), 1)
        factors = np.linalg.solve(gram + penalty * np.eye(len(gram)), design.T @ target)
        return dataclasses.replace(self, factors=factors)


def list_contestants() -> Mapping[str, Make]:
    """Return what makes each predictor for a setting."""
    return {
        TRAINED: lambda case, trained: trained.start(case.space, case.features),
        "slot features, untrained": lambda case, _: SweepPredictor(
            OptionMap().read_values(case.space, case.features), name="slot_features"
        ),
        SWEPT: lambda case, _: SweepPredictor(_sweep(case)),
        "sweep, ridge": lambda case, _: RidgeOnTerms(_sweep(case).as_array(case.space)),
        "sweep, sum": lambda case, _: FixedSum(_sweep(case).as_array(case.space)),
        "gradient score": lambda case, _: FixedSum(case.features.get(TOKENWISE)),
        "gradient score of sequences": lambda case, _: FixedSum(case.features.get(FISHER)),
        "Taylor": lambda case, _: FixedSum(case.features.get(TAYLOR)),
        "removed importance": lambda case, _: FixedSum(case.features.get(REMOVED)),
        "rounding error": lambda case, _: FixedSum(_weigh_rounding(case)),
        "bytes": lambda case, _: FixedSum(_cost(case, "bytes")),
        "parameters": lambda case, _: FixedSum(_cost(case, "parameters")),
        "ridge": lambda _, __: Ridge(),
        "Gaussian process": lambda _, __: GaussianProcess(),
        "XGBoost": lambda _, __: BoostedTrees(),
    }


def train(cases: Sequence[Case]) -> TrainedDamage:
    """Meta-train on cases."""
    return train_damage([case.evidence for case in cases])


def _sweep(case: Case) -> SlotValues:
    origin = np.asarray(case.space.origin)
    single = [
        record
        for record in case.records
        if (np.asarray(case.space.find_choices(record.values)) != origin).sum() == 1
    ]
    return estimate_slot_values(case.space, single)


def _cost(case: Case, resource: str) -> Floats:
    tables = case.space.tables
    costs = tables.costs[tables.resources.index(resource)].astype(np.float64)
    saved: Floats = costs[tables.columns, np.asarray(case.space.origin)][:, None] - costs
    return saved


def _weigh_rounding(case: Case) -> Floats:
    """Return the squared relative error of the weights, what is removed counting fully, times parameters."""
    features, tables = case.features, case.space.tables
    parameters = tables.costs[tables.resources.index("parameters")].astype(np.float64)
    whole = parameters.max(axis=1, keepdims=True)
    error: Floats = (whole - parameters) + parameters * features.get(ROUNDED)
    return error
