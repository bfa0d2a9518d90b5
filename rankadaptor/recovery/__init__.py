"""Recovery: choosing a recipe, one trial, and the final fine-tune of an allocation."""

from rankadaptor.recovery.final import recover
from rankadaptor.recovery.tuning import RecipeTrial, TunedRecipe, tune_recipe

__all__ = ["RecipeTrial", "TunedRecipe", "recover", "tune_recipe"]
