"""The order of trainings, and the search for a rate, on records of a simulated model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from experiments.recovery.agenda import count_left, list_goals, list_missing
from experiments.recovery.config import Study, load_study
from experiments.recovery.rates import FACTOR, find_best_rate, list_untried, make_rate
from experiments.recovery.training import LLM_PRUNER, TUNING_SEED, Record, Training
from rankadaptor.errors import ConfigError


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(Path("experiments/recovery/smollm2-135m.yaml"))


def record(training: Training, *, best: float) -> Record:
    """A record whose loss on the search text grows with the distance of its rate from the best one."""
    loss = 4 + abs(math.log(training.learning_rate / best))
    losses = {"search": loss, "judging": loss, "other": loss}
    return Record(training, losses, training.tokens, training.tokens / 200, {"precision": "float32"})


def finish(study: Study, *, best: float, at_most: int = 1000) -> list[Training]:
    """Run the whole agenda on simulated records; return the trainings in order."""
    found: dict[Training, Record] = {}
    while (training := next(list_missing(study, found), None)) is not None:
        found[training] = record(training, best=best)
        assert len(found) <= at_most
    return list(found)


def test_a_rate_is_tuned_until_the_best_one_lies_between_worse_ones(study: Study):
    best = make_rate(3)  # three steps above the start
    cell = Training("uniform", 0.3, study.lengths[0], 0.0, 0)
    found: dict[Training, Record] = {}
    while untried := list_untried(cell, found, start=3e-3):
        training = Training("uniform", 0.3, study.lengths[0], untried[0], TUNING_SEED)
        found[training] = record(training, best=best)
    assert find_best_rate(cell, found) == best
    rates = {training.learning_rate for training in found}
    assert {make_rate(2), make_rate(4)} <= rates
    assert max(rates) / min(rates) < FACTOR**6.1


def test_a_diverged_rate_is_never_the_best(study: Study):
    cell = Training("uniform", 0.3, study.lengths[0], 0.0, 0)
    high, low = (Training("uniform", 0.3, study.lengths[0], rate, TUNING_SEED) for rate in (9e-3, 3e-3))
    found = {high: Record(high, None, 0, 0.0, {}), low: record(low, best=9e-3)}
    assert find_best_rate(cell, found) == 3e-3


def test_trainings_that_judge_follow_those_that_tune_and_have_other_seeds(study: Study):
    done = finish(study, best=make_rate(-1))
    assert len(set(done)) == len(done)
    first = done[0]
    assert (first.tokens, first.seed) == (study.lengths[0], TUNING_SEED)
    for goal in list_goals(study):
        own = [each for each in done if each.cell == goal.cell]
        judged = [each for each in own if each.seed != TUNING_SEED]
        assert {each.seed for each in judged} >= set(range(goal.seeds))
        if goal.rate is None and goal.tuned is None:
            tuning = [index for index, each in enumerate(done) if each in own and each.seed == TUNING_SEED]
            chosen = [
                index
                for index, each in enumerate(done)
                if each in judged and each.learning_rate == make_rate(-1)
            ]
            assert max(tuning) < max(chosen)


def test_ours_and_llm_pruners_recipe_are_paired_on_every_pruned_model(study: Study):
    done = [each for each in finish(study, best=3e-3) if each.seed != TUNING_SEED]
    middle = study.lengths[1]
    for widths in ("uniform", "searched"):
        for ratio in study.ratios:
            seeds = {
                recipe: {
                    each.seed
                    for each in done
                    if (each.widths, each.ratio, each.tokens, each.recipe) == (widths, ratio, middle, recipe)
                }
                for recipe in ("ours", LLM_PRUNER)
            }
            assert seeds["ours"] == seeds[LLM_PRUNER] == {0, 1, 2}


def test_what_is_left_falls_to_nothing(study: Study):
    found = {training: record(training, best=3e-3) for training in finish(study, best=3e-3)}
    before = sum(count for _, count in count_left(study, {}))
    assert count_left(study, found) == []
    assert before > 50


def test_a_faulty_study_is_refused_with_all_faults(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text("name: x\nmodel: kit:smollm2-135m\ntext: [kit:c4]\nlenghts: [1, 2, 3]\n")
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert "lenghts" in str(caught.value)
    assert "other" in str(caught.value)
