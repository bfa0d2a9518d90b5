"""Structured pruning: heads and MLP channels as coupled groups, or whole blocks, removed from a model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.pruning.pruner import prune

__all__ = ["prune"]


def __getattr__(name: str) -> Any:
    if name == "prune":
        return importlib.import_module("rankadaptor.pruning.pruner").prune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
