"""What is to be trained, the most valuable first, given what has been trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.recovery.config import Study
from experiments.recovery.rates import find_best_rate, list_untried
from experiments.recovery.training import (
    LLM_PRUNER,
    PLAIN,
    SEARCHED,
    TUNING_SEED,
    UNIFORM,
    Record,
    Training,
)
from rankadaptor.methods import METHODS
from rankadaptor.recipe import LOSSES

LLM_PRUNER_RATE = 1e-4
FEWEST_TRIED = 3
"""Rates that a tuning tries at least, for the estimate of what is left."""
LOSS_KINDS = LOSSES
"""Losses that are compared."""


@dataclass(frozen=True)
class Goal:
    """A kind of training that is to be judged over some seeds.

    Attributes:
        cell: What is trained, without rate and seed.
        seeds: Paired seeds.
        rate: A rate that is given; None where one is tuned.
        tuned: The goal whose best rate is used; its own by default.
        start: The goal whose best rate is where the tuning begins.
        begin: Where the tuning begins, if there is no such goal; the usual rate by default.
    """

    cell: Training
    seeds: int
    rate: float | None = None
    tuned: Goal | None = None
    start: Goal | None = None
    begin: float | None = None


def list_goals(study: Study) -> list[Goal]:
    """Return all goals in the order of what the targets of the study need first."""
    short, middle, long = study.lengths
    first, *others = study.ratios
    plain_short = _tune(study, short)
    plain_middle = _tune(study, middle, plain_short)
    kinds = [kind for kind in LOSS_KINDS if kind != PLAIN]
    kinds_short = {kind: _tune(study, short, plain_short, loss_kind=kind) for kind in kinds}
    kinds_middle = {kind: _tune(study, middle, goal, loss_kind=kind) for kind, goal in kinds_short.items()}
    types_short = {kind: _tune(study, short, plain_short, bits=kind) for kind in study.types}

    def usual(goal: Goal) -> Goal:
        return Goal(goal.cell, goal.seeds, rate=study.learning_rate)

    def theirs(tokens: int, ratio: float = first, widths: str = UNIFORM) -> Goal:
        cell = Training(widths, ratio, tokens, 0.0, 0, recipe=LLM_PRUNER, schedule="linear")
        return Goal(cell, study.count_seeds(tokens), rate=LLM_PRUNER_RATE)

    def both(ratio: float, widths: str) -> list[Goal]:
        cell = dataclasses.replace(plain_middle.cell, ratio=ratio, widths=widths)
        return [Goal(cell, plain_middle.seeds, tuned=plain_middle), theirs(middle, ratio, widths)]

    return [
        plain_short,
        usual(plain_short),
        plain_middle,
        theirs(middle),
        *kinds_short.values(),
        *types_short.values(),
        *(goal for ratio in others for goal in both(ratio, UNIFORM)),
        *(goal for ratio in study.ratios for goal in both(ratio, SEARCHED)),
        *kinds_middle.values(),
        *(_tune(study, middle, goal, bits=kind) for kind, goal in types_short.items()),
        usual(plain_middle),
        *(_tune(study, short, method=name, begin=METHODS[name].learning_rate) for name in study.methods),
        _tune(study, long, plain_middle),
        *(_tune(study, long, goal, loss_kind=kind) for kind, goal in kinds_middle.items()),
        theirs(short),
        theirs(long),
    ]


def _tune(
    study: Study, tokens: int, start: Goal | None = None, *, begin: float | None = None, **changes: Any
) -> Goal:
    """Return a goal of the model that is studied most, with a rate of its own."""
    cell = Training(UNIFORM, study.ratios[0], tokens, 0.0, 0, **changes)
    return Goal(cell, study.count_seeds(tokens), start=start, begin=begin)


def list_missing(study: Study, found: Mapping[Training, Record]) -> Iterator[Training]:
    """Yield the trainings that can be done now, in the order of their goals.

    A goal whose rate is not tuned yet yields trainings that tune it; the others of that goal follow once
    those are recorded.
    """
    listed: set[Training] = set()
    for goal in list_goals(study):
        for training in _list_next(goal, study, found):
            if training not in found and training not in listed:
                listed.add(training)
                yield training


def _list_next(goal: Goal, study: Study, found: Mapping[Training, Record]) -> Iterator[Training]:
    untried = find_untried(goal.tuned or goal, study, found)
    if untried is None:
        return
    if untried:
        if goal.tuned is None:
            for each in untried:
                yield dataclasses.replace(goal.cell, learning_rate=each, seed=TUNING_SEED)
        return
    rate = find_rate(goal, found)
    if rate is None:  # every rate diverged
        return
    for seed in range(goal.seeds):
        yield dataclasses.replace(goal.cell, learning_rate=rate, seed=seed)


def find_untried(goal: Goal, study: Study, found: Mapping[Training, Record]) -> list[float] | None:
    """Return the rates that a goal's tuning tries next: none where it is done or a rate is given.

    None in place of a list: the tuning waits for that of another goal.
    """
    if goal.rate is not None:
        return []
    begin, upward = goal.begin or study.learning_rate, True
    if goal.start is not None:
        if find_untried(goal.start, study, found) != []:
            return None
        begin = find_best_rate(goal.start.cell, found) or begin
        # The best rate falls with the length; for another loss or type it may be higher.
        before = dataclasses.replace(goal.start.cell, tokens=goal.cell.tokens)
        upward = before != goal.cell
    return list_untried(goal.cell, found, start=begin, upward=upward)


def find_rate(goal: Goal, found: Mapping[Training, Record]) -> float | None:
    """Return the rate of the trainings that judge; None where none is known yet."""
    return goal.rate if goal.rate is not None else find_best_rate((goal.tuned or goal).cell, found)


def count_left(study: Study, found: Mapping[Training, Record]) -> list[tuple[Training, int]]:
    """Return the kinds of trainings that are left and how many of each, those of later tunings guessed."""
    done: dict[tuple[Training, bool, float], int] = {}
    for training in found:
        key = (training.cell, training.seed == TUNING_SEED, training.learning_rate)
        done[key] = done.get(key, 0) + 1
    left = []
    for goal in list_goals(study):
        rate = find_rate(goal, found)
        judged = done.get((goal.cell, False, rate), 0) if rate is not None else 0
        count = max(goal.seeds - judged, 0)
        if goal.tuned is None and find_untried(goal, study, found) != []:
            tried = sum(number for (cell, tuning, _), number in done.items() if cell == goal.cell and tuning)
            count += max(FEWEST_TRIED - tried, 1)
        if count:
            left.append((goal.cell, count))
    return left
