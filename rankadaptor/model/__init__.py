"""Models with uneven widths: families, loading, saving, identity and quantisation.

`families` and `record` are pure Python, so that later stages can describe a model without importing torch;
everything else is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.model.families import FAMILIES, Family, Linear, describe_linears
from rankadaptor.model.record import read_pruning

if TYPE_CHECKING:
    from rankadaptor.model.identity import digest_model
    from rankadaptor.model.saving import save_pruned
    from rankadaptor.model.statistics import describe_model

__all__ = [
    "FAMILIES",
    "Family",
    "Linear",
    "describe_linears",
    "describe_model",
    "digest_model",
    "read_pruning",
    "save_pruned",
]

_LAZY = {"describe_model": "statistics", "digest_model": "identity", "save_pruned": "saving"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
