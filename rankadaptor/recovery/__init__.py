"""Recovery: choosing a recipe, one trial, and the final fine-tune of an allocation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankadaptor.recovery.choosing import ChosenRecipe, choose_recipe
    from rankadaptor.recovery.final import recover
    from rankadaptor.recovery.tuning import RecipeTrial, TunedRecipe, tune_recipe

__all__ = ["ChosenRecipe", "RecipeTrial", "TunedRecipe", "choose_recipe", "recover", "tune_recipe"]

_SOURCES = {
    "ChosenRecipe": "choosing",
    "choose_recipe": "choosing",
    "recover": "final",
    "RecipeTrial": "tuning",
    "TunedRecipe": "tuning",
    "tune_recipe": "tuning",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use: plans read the rungs of a choice without torch."""
    if name in _SOURCES:
        return getattr(importlib.import_module(f"{__name__}.{_SOURCES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
