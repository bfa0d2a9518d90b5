"""Whole jobs from a run file: experiments and corpus collection."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.pipeline.collection import collect_records
    from rankadaptor.pipeline.experiment import run_experiment, run_search
    from rankadaptor.pipeline.jobs import run_job
    from rankadaptor.pipeline.predictor_contest import benchmark_predictors
    from rankadaptor.pipeline.repetition import repeat_records
    from rankadaptor.pipeline.shared_recovery import recover_shared
    from rankadaptor.pipeline.training import train_from_run

__all__ = [
    "benchmark_predictors",
    "collect_records",
    "recover_shared",
    "repeat_records",
    "run_experiment",
    "run_job",
    "run_search",
    "train_from_run",
]

# Imported on first use: a run needs torch and peft, its folder does not.
_MODULES = {
    "benchmark_predictors": "predictor_contest",
    "collect_records": "collection",
    "repeat_records": "repetition",
    "recover_shared": "shared_recovery",
    "run_experiment": "experiment",
    "run_job": "jobs",
    "run_search": "experiment",
    "train_from_run": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
