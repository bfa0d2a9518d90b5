"""Models for use elsewhere: a GGUF file or a Hugging Face folder, adapters merged, each with a card."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.deployment.model_export import Exported, export

__all__ = ["Exported", "export"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.model_export"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
