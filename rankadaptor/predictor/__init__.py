"""Performance models: an allocation's gain over uniform, predicted before the fine-tune is paid for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.predictor.prediction import Prediction, Predictor

if TYPE_CHECKING:
    from rankadaptor.predictor.boosted_trees import BoostedTrees
    from rankadaptor.predictor.choice import PREDICTORS, make_predictor
    from rankadaptor.predictor.ensemble import Ensemble
    from rankadaptor.predictor.gaussian_process import GaussianProcess
    from rankadaptor.predictor.meta_network import MetaNetwork
    from rankadaptor.predictor.meta_predictor import MetaPredictor
    from rankadaptor.predictor.meta_training import meta_train
    from rankadaptor.predictor.network_training import train_network
    from rankadaptor.predictor.perceptron import Perceptron
    from rankadaptor.predictor.quality import Quality, assess_predictor
    from rankadaptor.predictor.ridge import Ridge
    from rankadaptor.predictor.score_predictor import ScorePredictor

# Imported on first use: the perceptrons need torch, which takes more than a second to import.
_MODULES = {
    "BoostedTrees": "boosted_trees",
    "Ensemble": "ensemble",
    "GaussianProcess": "gaussian_process",
    "MetaNetwork": "meta_network",
    "MetaPredictor": "meta_predictor",
    "PREDICTORS": "choice",
    "Perceptron": "perceptron",
    "Quality": "quality",
    "Ridge": "ridge",
    "ScorePredictor": "score_predictor",
    "assess_predictor": "quality",
    "make_predictor": "choice",
    "meta_train": "meta_training",
    "train_network": "network_training",
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
