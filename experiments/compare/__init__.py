"""Ways of choosing ranks, compared on one setting at equal adapter parameters and equal cost."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.compare.contest import compare_methods
    from experiments.parity.study import check_claim
    from experiments.smaller.study import find_smaller

__all__ = ["check_claim", "compare_methods", "find_smaller"]

# Imported on first use: these need torch and peft, their result files do not.
_MODULES = {"compare_methods": "contest", "check_claim": "parity", "find_smaller": "smaller"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
