"""Performance models: they predict the gain of an allocation over the reference before it is measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.predictor.prediction import Prediction, Predictor

if TYPE_CHECKING:
    from rankadaptor.predictor.baselines.boosted_trees import BoostedTrees
    from rankadaptor.predictor.baselines.gaussian_process import GaussianProcess
    from rankadaptor.predictor.baselines.ridge import Ridge
    from rankadaptor.predictor.baselines.score_predictor import ScorePredictor
    from rankadaptor.predictor.choice import PREDICTORS, make_predictor
    from rankadaptor.predictor.ensemble import Ensemble
    from rankadaptor.predictor.meta_training import meta_train
    from rankadaptor.predictor.networks.meta_network import MetaNetwork
    from rankadaptor.predictor.networks.perceptron import Perceptron
    from rankadaptor.predictor.networks.training import train_network
    from rankadaptor.predictor.prior.meta_predictor import MetaPredictor
    from rankadaptor.predictor.quality import Quality, assess_predictor

# Imported on first use: the networks need torch, which takes more than a second to import.
_MODULES = {
    "BoostedTrees": "baselines.boosted_trees",
    "Ensemble": "ensemble",
    "GaussianProcess": "baselines.gaussian_process",
    "MetaNetwork": "networks.meta_network",
    "MetaPredictor": "prior.meta_predictor",
    "PREDICTORS": "choice",
    "Perceptron": "networks.perceptron",
    "Quality": "quality",
    "Ridge": "baselines.ridge",
    "ScorePredictor": "baselines.score_predictor",
    "assess_predictor": "quality",
    "make_predictor": "choice",
    "meta_train": "meta_training",
    "train_network": "networks.training",
}

__all__ = [
    "PREDICTORS",
    "BoostedTrees",
    "Ensemble",
    "GaussianProcess",
    "MetaNetwork",
    "MetaPredictor",
    "Perceptron",
    "Prediction",
    "Predictor",
    "Quality",
    "Ridge",
    "ScorePredictor",
    "assess_predictor",
    "make_predictor",
    "meta_train",
    "train_network",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
