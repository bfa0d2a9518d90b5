"""What the run file allows is what the stages allow."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

from rankadaptor.config.sections import Aggregation, Importance, PruneSection, RecipeSection, SpaceSection
from rankadaptor.config.stages import MetaTrainSection, SearchSection
from rankadaptor.recipe import SCHEDULES, Recipe


def allowed(section, field):
    return get_args(section.model_fields[field].annotation)


def test_the_recipe_section_has_the_recipe_s_fields_but_for_what_a_run_knows():
    fields = {field.name for field in dataclasses.fields(Recipe)}
    assert set(RecipeSection.model_fields) - {"tune"} == fields - {
        "steps", "reference_rank", "method", "virtual_tokens", "bottleneck_width",
    }  # fmt: skip
    assert allowed(RecipeSection, "schedule") == SCHEDULES
    Recipe(**RecipeSection().model_dump(exclude={"tune"}))


def test_pruning_choices_agree():
    from rankadaptor.pruning import prune
    from rankadaptor.pruning.aggregation import AGGREGATIONS
    from rankadaptor.pruning.depth import BLOCK_IMPORTANCES
    from rankadaptor.pruning.groups import HEAD_UNITS
    from rankadaptor.pruning.selection import SCOPES

    assert get_args(Importance) == BLOCK_IMPORTANCES
    assert get_args(Aggregation) == tuple(AGGREGATIONS)
    assert set(allowed(PruneSection, "scope")) == set(SCOPES)
    assert set(allowed(PruneSection, "head_unit")) == set(HEAD_UNITS)
    assert set(PruneSection.model_fields) - {"calibration"} <= set(inspect.signature(prune).parameters)


def test_space_choices_agree():
    from rankadaptor.components.adapter.ranks import MODES, RankSpace

    assert set(allowed(SpaceSection, "mode")) == set(MODES)
    assert set(SpaceSection.model_fields) <= set(inspect.signature(RankSpace.from_model).parameters)


@pytest.mark.parametrize("name", allowed(SearchSection, "predictor"))
def test_every_predictor_of_the_run_file_can_be_made(name):
    from rankadaptor.predictor import make_predictor

    if name != "meta":  # read from a folder
        assert make_predictor(name).name == name


def test_proposals_agree():
    from rankadaptor.search.proposals import PROPOSALS

    assert set(allowed(SearchSection, "proposal")) == set(PROPOSALS)


def test_meta_training_options_agree():
    from rankadaptor.predictor import meta_train

    parameters = inspect.signature(meta_train).parameters
    for field in set(MetaTrainSection.model_fields) - {"output"}:
        assert MetaTrainSection.model_fields[field].default == parameters[field].default
