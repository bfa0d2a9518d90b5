"""Super-networks: shared weights trained so that many allocations of one space are good models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.supernet.elastic_space import MIDDLE, build_elastic_space
from rankadaptor.supernet.plan import draw_plan, find_smallest, find_widest

if TYPE_CHECKING:
    from rankadaptor.supernet.network import SuperNetwork

__all__ = ["MIDDLE", "SuperNetwork", "build_elastic_space", "draw_plan", "find_smallest", "find_widest"]


def __getattr__(name: str) -> Any:
    if name == "SuperNetwork":
        return importlib.import_module("rankadaptor.supernet.network").SuperNetwork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
