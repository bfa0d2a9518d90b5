"""Measures: callables that take allocations and return records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.measure.latency import LatencyModel, fit_latency
    from rankadaptor.measure.slice_pool import SlicePool
    from rankadaptor.measure.slice_score import SliceScore

__all__ = ["LatencyModel", "ShortFineTune", "SlicePool", "SliceScore", "fit_latency"]

_MODULES = {
    "LatencyModel": "latency",
    "ShortFineTune": "fine_tune",
    "SlicePool": "slice_pool",
    "SliceScore": "slice_score",
    "fit_latency": "latency",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
