"""The choice of a recipe by successive halving, on simulated trainings and on a pico model."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.data import Row
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.methods import METHODS
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.choosing import choose_recipe, halve_recipes
from rankadaptor.recovery.grid import list_candidates, plan_rungs
from rankadaptor.recovery.trial import Trial

BEST = 3e-3
"""Best rate of the simulated recovery of 400 steps."""
POWER = 0.25


class Valley:
    """Trainings whose loss grows with the distance of their rate from the best one of their length."""

    def __init__(self, best: float = BEST, *, diverges_above: float = math.inf, **penalties: float) -> None:
        self.best, self.limit, self.penalties = best, diverges_above, penalties
        self.trained: list[Recipe] = []

    def __call__(self, recipes: Sequence[Recipe]) -> list[Trial]:
        self.trained += recipes
        return [self._train(recipe) for recipe in recipes]

    def _train(self, recipe: Recipe) -> Trial:
        tokens = recipe.steps * recipe.batch_size * recipe.sequence_length
        if recipe.learning_rate > self.limit:
            return Trial((), (), tokens, 1.0, error="diverged")
        best = self.best * (400 / recipe.steps) ** POWER
        loss = 4 + math.log(recipe.learning_rate / best) ** 2 + self.penalties.get(recipe.schedule, 0.0)
        return Trial((loss,), (1,), tokens, 1.0)


@pytest.mark.parametrize("steps", [16, 25, 48, 160, 400, 1000])
@pytest.mark.parametrize("rates", [(3e-3, 1e-3), (3e-3, 1e-3, 6e-3), (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)])
@pytest.mark.parametrize("schedules", [("cosine",), ("cosine", "linear", "constant")])
def test_the_choice_never_costs_more_than_half_the_recovery(
    steps: int, rates: tuple[float, ...], schedules: tuple[str, ...]
):
    valley = Valley()
    chosen = halve_recipes(
        valley, recipe=Recipe(steps=steps), grid={"learning_rate": rates, "schedule": schedules}
    )
    assert sum(recipe.steps for recipe in valley.trained) == chosen.steps <= 0.5 * steps
    assert chosen.to_json()["share"] <= 0.5
    assert chosen.tokens == sum(each.steps for each in valley.trained) * 8 * 128
    assert chosen.recipe.steps == steps
    tried = {tuple(each.changes.values()) for each in itertools.chain(*chosen.rungs)}
    left_out = {tuple(each.values()) for each in chosen.left_out}
    assert len(tried | left_out | {tuple(chosen.changes.values())}) >= len(rates) * len(schedules)


def test_the_rate_is_the_best_at_the_length_of_the_recovery_not_of_the_short_trainings():
    rates = tuple(BEST * 2.0**power for power in range(-2, 3))
    chosen = halve_recipes(Valley(), recipe=Recipe(steps=400), grid={"learning_rate": rates})
    assert chosen.recipe.learning_rate == pytest.approx(BEST)
    same = halve_recipes(Valley(), recipe=Recipe(steps=400), grid={"learning_rate": rates}, power=0.0)
    assert same.recipe.learning_rate > BEST


def test_every_training_ends_its_own_schedule():
    valley = Valley()
    chosen = halve_recipes(valley, recipe=Recipe(steps=400), grid={"learning_rate": (1e-3, 2e-3, 4e-3, 8e-3)})
    lengths = [rung[0].steps for rung in chosen.rungs]
    assert lengths == sorted(set(lengths))
    assert {recipe.steps for recipe in valley.trained} == set(lengths)


def test_other_fields_are_chosen_with_the_rate():
    valley = Valley(cosine=0.3, constant=0.5)
    grid = {"learning_rate": (1e-3, 3e-3), "schedule": ("cosine", "linear", "constant")}
    chosen = halve_recipes(valley, recipe=Recipe(steps=400), grid=grid)
    assert (chosen.recipe.schedule, chosen.recipe.learning_rate) == ("linear", 3e-3)
    assert chosen.changes == {"learning_rate": 3e-3, "schedule": "linear"}


@pytest.mark.parametrize("rates", [(1e-3, 5e-4), (6e-3, 12e-3)])
def test_a_best_rate_at_the_edge_lets_the_next_one_take_part(rates: tuple[float, ...]):
    grid = {"learning_rate": (*rates, rates[0] * 1.01), "schedule": ("cosine", "linear")}
    chosen = halve_recipes(Valley(), recipe=Recipe(steps=1000), grid=grid)
    assert not min(grid["learning_rate"]) <= chosen.recipe.learning_rate <= max(grid["learning_rate"])


def test_where_not_all_can_be_tried_the_rates_go_first():
    grid = {"schedule": ("cosine", "linear"), "learning_rate": (3e-3, 1e-3)}
    candidates = list_candidates(grid)
    assert [each["schedule"] for each in candidates] == ["cosine", "cosine", "linear", "linear"]
    chosen = halve_recipes(Valley(), recipe=Recipe(steps=24), grid=grid)
    assert [each["schedule"] for each in chosen.left_out] == ["linear", "linear"]


def test_each_method_is_tried_at_rates_of_its_own():
    grid = {"learning_rate": (3e-3, 1e-3), "method": ("lora", "full")}
    candidates = list_candidates(grid)
    assert [each["learning_rate"] for each in candidates if each["method"] == "lora"] == [3e-3, 1e-3]
    own = tuple(each["learning_rate"] for each in candidates if each["method"] == "full")
    assert own == METHODS["full"].learning_rates
    chosen = halve_recipes(Valley(best=own[1]), recipe=Recipe(steps=400), grid=grid)
    assert (chosen.recipe.method, chosen.recipe.learning_rate) == ("full", own[1])


def test_too_short_a_recovery_keeps_the_usual_values_without_cost():
    valley = Valley()
    chosen = halve_recipes(valley, recipe=Recipe(steps=4), grid={"learning_rate": (6e-3, 1e-3)})
    assert chosen.recipe.learning_rate == 6e-3
    assert valley.trained == []
    assert chosen.tokens == 0


def test_one_candidate_is_no_choice():
    valley = Valley()
    chosen = halve_recipes(valley, recipe=Recipe(steps=400), grid={"learning_rate": (2e-3,)})
    assert chosen.recipe.learning_rate == 2e-3
    assert valley.trained == []


def test_what_diverges_is_never_chosen():
    valley = Valley(best=1.0, diverges_above=5e-3)
    chosen = halve_recipes(valley, recipe=Recipe(steps=400), grid={"learning_rate": (1e-3, 2e-3, 9e-3)})
    assert chosen.recipe.learning_rate <= 2e-3
    with pytest.raises(TrainingError, match="learning_rate"):
        halve_recipes(
            Valley(diverges_above=0.0), recipe=Recipe(steps=400), grid={"learning_rate": (1e-3, 3e-3)}
        )


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"learning_rte": (1e-3, 2e-3)}, "learning_rte"),
        ({"batch_size": (4, 8)}, "batch_size"),
        ({"learning_rate": ()}, "learning_rate"),
        ({"learning_rate": (1e-3, -1.0)}, "above 0"),
        ({}, "values to try"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(grid: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        halve_recipes(Valley(), recipe=Recipe(), grid=grid)


def test_rungs_are_dropped_before_candidates_are():
    assert plan_rungs(8, budget=200, keep=0.5, least=6) == (3, 8)
    assert plan_rungs(8, budget=60, keep=0.5, least=6) == (1, 8)
    assert plan_rungs(8, budget=30, keep=0.5, least=6) == (1, 5)
    assert plan_rungs(8, budget=11, keep=0.5, least=6) == (0, 0)


def test_a_recipe_is_chosen_on_a_model(pico_model: Callable[..., Any], pico_tokenizer: Any):
    model = pico_model("llama", blocks=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = [Row(prompt="", response=f"the fox jumps over dog {n} and bridge {n * n % 7}") for n in range(40)]
    chosen = choose_recipe(
        model,
        pico_tokenizer,
        RankSpace.from_model(model, like_uniform=2).reference(),
        data=rows[:32],
        held_out=rows[32:],
        recipe=Recipe(batch_size=2, micro_batch_size=2, sequence_length=16, reference_rank=2),
        grid={"learning_rate": (1e-5, 1e-2), "loss": ("plain", "distill")},
        steps=48,
        teacher=copy.deepcopy(model),
    )
    assert {each.changes["loss"] for each in chosen.rungs[0]} == {"plain", "distill"}
    assert chosen.recipe.learning_rate > 1e-5  # one that hardly trains cannot win
    assert 0 < chosen.steps <= 24
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())
