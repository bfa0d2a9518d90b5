"""What is to be trained, the most valuable first, given what has been trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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

LLM_PRUNER_RATE = 1e-4
FEWEST_TRIED = 3
"""Rates that a tuning tries at least, for the estimate of what is left."""
LOSS_KINDS = (PLAIN,)
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
    """

    cell: Training
    seeds: int
    rate: float | None = None
    tuned: Goal | None = None
    start: Goal | None = None


def list_goals(study: Study) -> list[Goal]:
    """Return all goals in the order of what the targets of the study need first."""
    short, middle, long = study.lengths
    first, *others = study.ratios

    def ours(tokens: int, ratio: float = first, widths: str = UNIFORM, loss_kind: str = PLAIN) -> Training:
        return Training(widths, ratio, tokens, 0.0, 0, loss_kind=loss_kind)

    def theirs(tokens: int, ratio: float = first, widths: str = UNIFORM) -> Goal:
        cell = dataclasses.replace(ours(tokens, ratio, widths), recipe=LLM_PRUNER, schedule="linear")
        return Goal(cell, study.count_seeds(tokens), rate=LLM_PRUNER_RATE)

    def tuned(tokens: int, start: Goal | None = None, loss_kind: str = PLAIN) -> Goal:
        return Goal(ours(tokens, loss_kind=loss_kind), study.count_seeds(tokens), start=start)

    def alike(goal: Goal, ratio: float, widths: str) -> Goal:
        tokens = goal.cell.tokens
        return Goal(ours(tokens, ratio, widths), study.count_seeds(tokens), tuned=goal)

    others_kinds = [kind for kind in LOSS_KINDS if kind != PLAIN]
    plain_short = tuned(short)
    plain_middle = tuned(middle, plain_short)
    goals = [plain_short, Goal(ours(short), study.count_seeds(short), rate=study.learning_rate)]
    goals += [plain_middle, theirs(middle)]
    kinds_short = {kind: tuned(short, plain_short, kind) for kind in others_kinds}
    goals += kinds_short.values()
    for ratio in others:
        goals += [alike(plain_middle, ratio, UNIFORM), theirs(middle, ratio)]
    for ratio in study.ratios:
        goals += [alike(plain_middle, ratio, SEARCHED), theirs(middle, ratio, SEARCHED)]
    kinds_middle = {kind: tuned(middle, goal, kind) for kind, goal in kinds_short.items()}
    goals += kinds_middle.values()
    goals += [Goal(ours(middle), study.count_seeds(middle), rate=study.learning_rate)]
    goals += [tuned(long, goal, kind) for kind, goal in ({PLAIN: plain_middle} | kinds_middle).items()]
    goals += [theirs(short), theirs(long)]
    return goals


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
    begin, upward = study.learning_rate, True
    if goal.start is not None:
        if find_untried(goal.start, study, found) != []:
            return None
        begin = find_best_rate(goal.start.cell, found) or begin
        # The best rate falls with the length; for another loss it may be higher.
        upward = goal.start.cell.loss_kind != goal.cell.loss_kind
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
