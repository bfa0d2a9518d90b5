"""The recipe of a compression's recoveries, chosen on its first finalist; `recovery.choosing` says how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rankadaptor.defaults import CHOICE
from rankadaptor.files import compute_digest, write_json
from rankadaptor.methods import find_method
from rankadaptor.pipeline.compression.candidates import Candidate, try_candidate
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.run_recipe import CHOICE_FILE, make_run_recipe
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.choosing import halve_recipes


@dataclass(frozen=True)
class ShortRecovery:
    """The outcome of a short recovery; the fields are described at `recovery.choosing.Outcome`."""

    loss: float | None
    tokens: int
    seconds: float
    error: str | None


def choose_run_recipe(setting: Setting, candidate: Candidate) -> dict[str, Any]:
    """Choose the recipe of the full recovery on a candidate.

    Returns:
        The choice as `ChosenRecipe.to_json` writes it, which is kept in a file for all recoveries of the run.
    """
    given = setting.config.recover
    assert given is not None

    def measure(recipes: Sequence[Recipe]) -> list[ShortRecovery]:
        jobs = [
            Job(
                f"rate {each.learning_rate:.3g} for {each.steps} steps",
                measure_recipe,
                (candidate, each),
                (_name_result(setting, each),),
            )
            for each in recipes
        ]
        do_jobs(setting, jobs, what="recipes")
        found = [measure_recipe(setting, candidate, each) for each in recipes]
        names = [each.name for each in fields(ShortRecovery)]
        return [ShortRecovery(**{name: one[name] for name in names}) for one in found]

    chosen = halve_recipes(
        measure,
        recipe=make_run_recipe(setting, steps=given.steps, rate=given.tried_rates[0]),
        grid=given.list_grid(),
        share=given.choose_share,
        least=max(CHOICE.least_steps, find_method(given.method).fewest_steps),
    ).to_json()
    write_json(setting.folder.path / CHOICE_FILE, chosen)
    return chosen


def measure_recipe(setting: Setting, candidate: Candidate, recipe: Recipe) -> dict[str, Any]:
    """Recover a candidate by a recipe over the recipe's steps, or read what was measured of it."""
    file = _name_result(setting, recipe)
    if not file.exists():
        result = try_candidate(
            setting,
            candidate,
            steps=recipe.steps,
            rate=recipe.learning_rate,
            checkpoint=file.with_name(file.name.removesuffix(".json")),
            recipe=recipe,
        )
        write_json(file, result)
    keys = ("loss", "tokens", "seconds", "error")
    return read_object(file, keys=keys, what="a short recovery", cost="it is done again")


def _name_result(setting: Setting, recipe: Recipe) -> Path:
    file = setting.folder.path / CHOICE_FILE
    return file.with_name(f"recipe-{compute_digest(recipe.to_json())}.json")
