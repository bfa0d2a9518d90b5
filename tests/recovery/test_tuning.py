from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from rankadaptor.errors import InputError, TrainingError
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.tuning import EXTENSIONS, choose_both, choose_rate, tune_recipe


@dataclass(frozen=True)
class Outcome:
    loss: float | None
    values: tuple[int, ...] = (2, 2)
    seconds: float = 1.0
    error: str | None = None


def follow_valley(best_rate: float, diverges_above: float = math.inf):
    """An oracle whose loss grows with the distance of the rate's logarithm from the best one."""
    calls: list[list[float]] = []

    def measure(recipes: Sequence[Recipe]) -> list[Outcome]:
        calls.append([recipe.learning_rate for recipe in recipes])
        return [
            Outcome(None, error="NaN")
            if recipe.learning_rate > diverges_above
            else Outcome(4 + abs(math.log(recipe.learning_rate / best_rate)))
            for recipe in recipes
        ]

    return measure, calls


def test_best_rate_inside_the_grid():
    measure, calls = follow_valley(2e-3)
    tuned = choose_rate(measure, recipe=Recipe(), learning_rates=(4e-3, 1e-3, 2e-3))
    assert tuned.recipe == Recipe(learning_rate=2e-3)
    assert calls == [[1e-3, 2e-3, 4e-3]]
    assert [trial.learning_rate for trial in tuned.trials] == [1e-3, 2e-3, 4e-3]


@pytest.mark.parametrize(("best", "expected"), [(8e-3, 8e-3), (2.5e-4, 2.5e-4)])
def test_grid_grows_beyond_its_best_edge(best, expected, caplog):
    measure, calls = follow_valley(best)
    with caplog.at_level("INFO"):
        tuned = choose_rate(measure, recipe=Recipe(), learning_rates=(1e-3, 2e-3))
    assert tuned.recipe.learning_rate == pytest.approx(expected)
    assert "edge of the grid" in caplog.text
    assert all(len(call) == 1 for call in calls[1:])


def test_growth_is_bounded():
    measure, calls = follow_valley(1.0)
    choose_rate(measure, recipe=Recipe(), learning_rates=(1e-3, 2e-3))
    assert len(calls) == 1 + EXTENSIONS


def test_diverged_rates_are_kept_and_not_chosen():
    measure, _ = follow_valley(1.0, diverges_above=3e-3)
    tuned = choose_rate(measure, recipe=Recipe(), learning_rates=(1e-3, 2e-3, 4e-3))
    assert tuned.recipe.learning_rate == 2e-3
    assert tuned.trials[-1].loss is None
    assert tuned.trials[-1].error == "NaN"


def test_divergence_everywhere_looks_lower_and_then_says_so():
    measure, calls = follow_valley(1.0, diverges_above=0.0)
    with pytest.raises(TrainingError, match="Every learning rate diverged"):
        choose_rate(measure, recipe=Recipe(), learning_rates=(1e-3, 2e-3))
    assert calls[1] == [5e-4]


def test_one_rate_is_taken_as_it_is():
    measure, calls = follow_valley(1.0)
    assert choose_rate(measure, recipe=Recipe(), learning_rates=(3e-3,)).recipe.learning_rate == 3e-3
    assert calls == [[3e-3]]


@pytest.mark.parametrize("rates", [(), (0.0, 1e-3), (-1e-3,)])
def test_rates_are_checked(rates):
    with pytest.raises(InputError, match="positive rates"):
        choose_rate(follow_valley(1.0)[0], recipe=Recipe(), learning_rates=rates)


def test_rate_and_exponent_are_tuned_on_a_model(model, space, recipe, rows, pico_tokenizer, compute):
    logged = []
    tuned = tune_recipe(
        model,
        pico_tokenizer,
        space,
        data=rows[:16],
        held_out=rows[16:],
        recipe=recipe.replace(reference_rank=16),
        learning_rates=(1e-4, 1e-2, 1.0),
        scaling_exponents=(0.0, 1.0),
        steps=6,
        compute=compute,
        on_trial=logged.append,
    )
    assert tuned.recipe.learning_rate == 1e-2
    assert tuned.recipe.reference_rank == 4
    assert tuned.recipe.scaling_exponent in (0.0, 1.0)
    on_uniform = [trial for trial in tuned.trials if trial.values == space.reference().values]
    assert len(on_uniform) == 3
    assert {trial.scaling_exponent for trial in tuned.trials if trial.values != space.reference().values} == {
        0.0,
        1.0,
    }
    assert len(logged) == len(tuned.trials)
    assert not any("lora" in name for name, _ in model.named_modules())
    again = tune_recipe(
        model,
        pico_tokenizer,
        space,
        data=rows[:16],
        held_out=rows[16:],
        recipe=recipe,
        learning_rates=(1e-4, 1e-2, 1.0),
        scaling_exponents=(0.0, 1.0),
        steps=6,
        compute=compute,
        on_trial=pytest.fail,
        known=tuned.trials,
    )
    assert again == tuned


@pytest.mark.parametrize(("broken", "expected"), [((), "gradient"), (("gradient",), "random")])
def test_every_start_is_tried_at_every_rate(space, broken, expected):
    tried = []

    def measure(pairs):
        tried.extend((recipe.initialisation, recipe.learning_rate) for _, recipe in pairs)
        return [
            Outcome(None, error="NaN")
            if recipe.initialisation in broken
            else Outcome(4 - 0.1 * (recipe.initialisation == "gradient") + abs(recipe.learning_rate - 2e-3))
            for _, recipe in pairs
        ]

    given = {"recipe": Recipe(), "learning_rates": (1e-3, 2e-3, 4e-3)}
    tuned = choose_both(measure, space, initialisations=("random", "gradient"), **given)
    assert tuned.recipe.initialisation == expected
    assert tuned.recipe.learning_rate == 2e-3
    assert {start for start, _ in tried} == {"random", "gradient"}
    assert {trial.initialisation for trial in tuned.trials} == {"random", "gradient"}
    assert all((trial.loss is None) == (trial.initialisation in broken) for trial in tuned.trials)
    with pytest.raises(TrainingError, match="diverged"):
        choose_both(
            lambda pairs: [Outcome(None, error="NaN")] * len(pairs),
            space,
            initialisations=("random",),
            **given,
        )
    with pytest.raises(InputError, match="initialisations"):
        choose_both(measure, space, initialisations=(), **given)
