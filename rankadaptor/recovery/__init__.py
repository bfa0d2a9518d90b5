"""Recovery: choosing a recipe, one trial, and the final fine-tune of an allocation."""

from rankadaptor.recovery.choosing import ChosenRecipe, choose_recipe
from rankadaptor.recovery.final import recover
from rankadaptor.recovery.tuning import RecipeTrial, TunedRecipe, tune_recipe

__all__ = ["ChosenRecipe", "RecipeTrial", "TunedRecipe", "choose_recipe", "recover", "tune_recipe"]
