"""The file of further studies in settings of the corpus."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from rankadaptor.config.document import read_document
from rankadaptor.config.faults import describe_fault, list_keys
from rankadaptor.config.kit_names import find_unknown_benchmarks
from rankadaptor.config.sections import Section
from rankadaptor.config.stages import SEVEN
from rankadaptor.errors import ConfigError

STUDIES = Path(__file__).parent / "studies.yaml"


class RecipeSection(Section):
    """Effect of the recipe on the comparison of allocations."""

    exponents: tuple[float, ...] = Field(
        default=(0.0, 0.5, 1.0), description="Scaling exponents measured side by side."
    )
    learning_rates: tuple[float, ...] = Field(
        default=(),
        description="Rates beside the tuned one, as multiples of it, so that each allocation finds its own.",
    )
    allocations: int = Field(default=10, ge=1, description="How many, spread evenly over those measured.")
    seeds: int = Field(default=3, ge=1, description="Seeds of each.")


class ExtremesSection(Section):
    """The best and worst allocations, recovered in full and scored: does the loss predict accuracy?"""

    extremes: int = Field(default=5, ge=1, description="How many of the best, and as many of the worst.")
    names: tuple[str, ...] = Field(
        default=SEVEN, min_length=1, description="Benchmark names, all seven by default."
    )
    limit: int | None = Field(default=200, ge=1, description="Questions per benchmark; null takes all.")
    steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps of the recoveries; null takes recover.steps."
    )
    seed: int = Field(default=1000, ge=0, description="Seed of all recoveries, one that gave no order.")


class SettingStudies(Section):
    """What is measured in one setting."""

    recipe: RecipeSection | None = Field(
        default=None, description="Allocations measured under other recipes; null studies none."
    )
    benchmarks: ExtremesSection | None = Field(
        default=None, description="Best and worst allocations scored on benchmarks; null scores none."
    )


def load_studies(setting: str, path: str | Path = STUDIES) -> SettingStudies:
    """Return the studies of a setting.

    Args:
        setting: Name of the setting, a key of the file.
        path: The YAML file.

    Raises:
        ConfigError: If the setting is not in the file, or with all faults of its entry at once.
    """
    document = read_document(Path(path))
    if setting not in document.values:
        named = ", ".join(document.values)
        raise ConfigError(str(path), [f"no studies of setting {setting!r}. It has those of {named}."])
    try:
        given = SettingStudies.model_validate_json(json.dumps(document.values[setting], default=str))
    except ValidationError as error:
        keys = list_keys(SettingStudies)
        faults = [describe_fault(detail, keys=keys) for detail in error.errors(include_url=False)]
        raise ConfigError(str(path), [f"{setting}.{key}: {text}" for key, text in faults]) from error
    faults = list(_find_faults(given))
    if faults:
        raise ConfigError(str(path), [f"{setting}.{key}: {text}" for key, text in faults])
    return given


def _find_faults(given: SettingStudies) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if given.recipe is not None:
        if any(not 0 <= exponent <= 1 for exponent in given.recipe.exponents):
            found.append(
                (
                    "recipe.exponents",
                    f"given {list(given.recipe.exponents)}; each must be between 0 and 1.",
                )
            )
        if any(factor <= 0 for factor in given.recipe.learning_rates):
            found.append(
                (
                    "recipe.learning_rates",
                    f"given {list(given.recipe.learning_rates)}; each must be above 0.",
                )
            )
    if given.benchmarks is not None:
        names = given.benchmarks.names
        if len(set(names)) != len(names):
            found.append(("benchmarks.names", f"given {list(names)}; each may be named once."))
        found += find_unknown_benchmarks("benchmarks.names", names)
    return found
