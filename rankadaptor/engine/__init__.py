"""llama.cpp: tensor types, packing of weights, the library, sessions that run a file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.engine.quantisers import dequantise, quantise, round_trip
    from rankadaptor.engine.session import EngineSession, Speed, find_engine
    from rankadaptor.engine.types import TYPES, TensorType, find_type

__all__ = [
    "TYPES",
    "EngineSession",
    "Speed",
    "TensorType",
    "dequantise",
    "find_engine",
    "find_type",
    "quantise",
    "round_trip",
]

_MODULES = {
    **dict.fromkeys(("TYPES", "TensorType", "find_type"), "types"),
    **dict.fromkeys(("dequantise", "quantise", "round_trip"), "quantisers"),
    **dict.fromkeys(("EngineSession", "Speed", "find_engine"), "session"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
