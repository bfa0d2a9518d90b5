"""Recover pruned language models with LoRA whose rank differs layer by layer, and say whether it helped.

Every public name is imported on first use: `import rankadaptor` itself loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.components.adapter.lora import load_adapter
    from rankadaptor.components.composition import LiveModel, build_space
    from rankadaptor.config import RunConfig, load_run
    from rankadaptor.corpus import Corpus, Record, RecordFile, Setting
    from rankadaptor.data import Row, load_rows
    from rankadaptor.deployment import export
    from rankadaptor.errors import (
        BudgetError,
        CheckpointError,
        ConfigError,
        CorpusError,
        InputError,
        RankAdaptorError,
        StorageError,
        TrainingError,
    )
    from rankadaptor.evaluation import compare_scores, evaluate
    from rankadaptor.measure import ShortFineTune, SliceScore
    from rankadaptor.model import describe_model, read_pruning, save_pruned
    from rankadaptor.named_models import load
    from rankadaptor.pipeline import collect_records, run_experiment
    from rankadaptor.pipeline.compression import Compressed, compress
    from rankadaptor.predictor import MetaPredictor, make_predictor, meta_train
    from rankadaptor.progress import show_progress
    from rankadaptor.proxies import ElasticAdapter
    from rankadaptor.pruning import prune
    from rankadaptor.recipe import Recipe
    from rankadaptor.recovery import choose_recipe, recover, tune_recipe
    from rankadaptor.runtime import Compute, choose_compute
    from rankadaptor.search import Search
    from rankadaptor.space import Allocation, Limit, Slot, Space
    from rankadaptor.verdict import Verdict, confirm

_SOURCES = {
    "rankadaptor.verdict": ("Verdict", "confirm"),
    "rankadaptor.components.adapter": ("RankSpace",),
    "rankadaptor.components.composition": ("LiveModel", "build_space"),
    "rankadaptor.config": ("RunConfig", "load_run"),
    "rankadaptor.corpus": ("Corpus", "Record", "RecordFile", "Setting"),
    "rankadaptor.data": ("Row", "load_rows"),
    "rankadaptor.deployment": ("export",),
    "rankadaptor.errors": (
        "BudgetError",
        "CheckpointError",
        "ConfigError",
        "CorpusError",
        "InputError",
        "RankAdaptorError",
        "StorageError",
        "TrainingError",
    ),
    "rankadaptor.evaluation": ("compare_scores", "evaluate"),
    "rankadaptor.measure": ("ShortFineTune", "SliceScore"),
    "rankadaptor.named_models": ("load",),
    "rankadaptor.pipeline": ("collect_records", "run_experiment"),
    "rankadaptor.pipeline.compression": ("Compressed", "compress"),
    "rankadaptor.predictor": ("MetaPredictor", "make_predictor", "meta_train"),
    "rankadaptor.progress": ("show_progress",),
    "rankadaptor.proxies": ("ElasticAdapter",),
    "rankadaptor.model": ("describe_model", "read_pruning", "save_pruned"),
    "rankadaptor.pruning": ("prune",),
    "rankadaptor.recipe": ("Recipe",),
    "rankadaptor.components.adapter.lora": ("load_adapter",),
    "rankadaptor.recovery": ("choose_recipe", "recover", "tune_recipe"),
    "rankadaptor.runtime": ("Compute", "choose_compute"),
    "rankadaptor.search": ("Search",),
    "rankadaptor.space": ("Allocation", "Limit", "Slot", "Space"),
}
_SOURCE_OF = {name: module for module, names in _SOURCES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "BudgetError",
    "CheckpointError",
    "Compressed",
    "Compute",
    "ConfigError",
    "Corpus",
    "CorpusError",
    "ElasticAdapter",
    "InputError",
    "Limit",
    "LiveModel",
    "MetaPredictor",
    "RankAdaptorError",
    "RankSpace",
    "Recipe",
    "Record",
    "RecordFile",
    "Row",
    "RunConfig",
    "Search",
    "Setting",
    "ShortFineTune",
    "SliceScore",
    "Slot",
    "Space",
    "StorageError",
    "TrainingError",
    "Verdict",
    "build_space",
    "choose_compute",
    "choose_recipe",
    "collect_records",
    "compare_scores",
    "compress",
    "confirm",
    "describe_model",
    "evaluate",
    "export",
    "load",
    "load_adapter",
    "load_rows",
    "load_run",
    "make_predictor",
    "meta_train",
    "prune",
    "read_pruning",
    "recover",
    "run_experiment",
    "save_pruned",
    "show_progress",
    "tune_recipe",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    source = _SOURCE_OF.get(name)
    if source is None:
        raise AttributeError(f"module 'rankadaptor' has no attribute {name!r}")
    value = getattr(importlib.import_module(source), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
