"""The recipe of a run's recoveries: as its file gives it, and with what was chosen of it."""

from __future__ import annotations

from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.config.sections import LossSection
from rankadaptor.pipeline.compression.recovering import make_recipe
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.pipeline.text_jobs.setting import TextSetting
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.grid import RATE

CHOICE_FILE = "finalists/choice.json"
"""What was chosen of the recipe, in the run's folder."""


def find_run_teacher(setting: TextSetting[CompressConfig], recipe: Recipe) -> Any:
    """Return the dense model if a recipe's loss follows it, else None."""
    return setting.model if recipe.needs_teacher else None


def make_given_recipe(setting: TextSetting[CompressConfig], *, steps: int, rate: float) -> Recipe:
    """Return the recipe of the run file at a length and a learning rate, before anything of it is chosen."""
    given = setting.config.recover
    assert given is not None
    return make_recipe(
        rank=given.rank,
        batch_size=given.batch_size,
        length=setting.config.data.length,
        steps=steps,
        learning_rate=rate,
        method=given.method,
        **{key: getattr(given, key) for key in LossSection.model_fields},
    )


def make_run_recipe(setting: TextSetting[CompressConfig], *, steps: int, rate: float) -> Recipe:
    """Return the run's recipe at a length and a learning rate, with what was chosen of its other fields."""
    recipe, chosen = make_given_recipe(setting, steps=steps, rate=rate), read_choice(setting)
    return recipe if chosen is None else recipe.replace(**{**chosen["changes"], RATE: rate})


def read_choice(setting: TextSetting[CompressConfig]) -> dict[str, Any] | None:
    """Return the choice of the recipe as `ChosenRecipe.to_json` writes it; None before it is made.

    It is a file in the run's folder, which all processes that recover read.
    """
    file = setting.folder.path / CHOICE_FILE
    if not file.exists():
        return None
    keys, cost = ("recipe", "changes", "rungs", "tokens"), "it is made again from the recorded trainings"
    return read_object(file, keys=keys, what="the choice of the recipe", cost=cost)
