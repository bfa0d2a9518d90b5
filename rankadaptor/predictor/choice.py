"""Predictors by the names that a run file uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.predictor.prediction import Predictor
from rankadaptor.requirements import XGBOOST, load_package

PREDICTORS = ("meta", "ensemble", "perceptron", "gaussian_process", "ridge", "boosted_trees")


def make_predictor(name: str, *, pretrained: str | Path | None = None, seed: int = 0) -> Predictor:
    """Make a predictor.

    Args:
        name: One of `PREDICTORS`.
        pretrained: Folder of the trained predictor: `meta` needs it, `ensemble` has it as a member if given.
        seed: Seed of the predictor.

    Raises:
        InputError: If the name is unknown, `pretrained` is missing or does not belong to it, or xgboost,
            which `boosted_trees` needs, does not load.
        CheckpointError: If the folder holds no predictor, or a damaged one.
    """
    if name not in PREDICTORS:
        raise InputError(f"predictor {name!r}: allowed are {', '.join(PREDICTORS)}.")
    if name != "ensemble" and (name == "meta") != (pretrained is not None):
        raise InputError(
            f"predictor {name!r} with pretrained={pretrained!r}: 'meta' needs the folder that "
            "`rankadaptor meta-train` wrote, 'ensemble' can use it, the others take none ('perceptron' is "
            "the paper's network without meta-training)."
        )
    if name == "boosted_trees":
        load_package(XGBOOST)  # before anything is measured
    from rankadaptor.predictor.baselines.boosted_trees import BoostedTrees
    from rankadaptor.predictor.baselines.gaussian_process import GaussianProcess
    from rankadaptor.predictor.baselines.ridge import Ridge

    def make_perceptron(**settings: Any) -> Predictor:
        from rankadaptor.predictor.networks.perceptron import Perceptron

        return Perceptron(**settings)

    def read_meta(**settings: Any) -> Predictor:
        from rankadaptor.predictor.prior.meta_predictor import MetaPredictor

        return dataclasses.replace(MetaPredictor.from_pretrained(str(pretrained)), **settings)

    def join(*, seed: int) -> Predictor:
        from rankadaptor.predictor.ensemble import Ensemble

        trained = () if pretrained is None else (read_meta(seed=seed),)
        return Ensemble((*trained, GaussianProcess(seed=seed), Ridge(seed=seed)), seed=seed)

    makers: dict[str, Callable[..., Predictor]] = {
        "meta": read_meta,
        "ensemble": join,
        "perceptron": make_perceptron,
        "gaussian_process": GaussianProcess,
        "ridge": Ridge,
        "boosted_trees": BoostedTrees,
    }
    return makers[name](seed=seed)
