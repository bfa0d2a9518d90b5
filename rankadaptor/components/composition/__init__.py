"""Widths, depth and precision of one model as one space, and a live model that takes its allocations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.components.composition.building import PRECISION, build_space

if TYPE_CHECKING:
    from rankadaptor.components.composition.live import LiveModel

__all__ = ["PRECISION", "LiveModel", "build_space"]


def __getattr__(name: str) -> Any:
    if name == "LiveModel":
        return importlib.import_module("rankadaptor.components.composition.live").LiveModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
