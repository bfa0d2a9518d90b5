"""What is to be trained, the most valuable first, given what has been trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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
        tuned: The cell whose best rate is used; its own by default.
        start: The cell whose best rate is where the tuning begins.
    """

    cell: Training
    seeds: int
    rate: float | None = None
    tuned: Training | None = None
    start: Training | None = None


def list_goals(study: Study) -> list[Goal]:
    """Return all goals in the order of what the targets of the study need first."""
    short, middle, long = study.lengths
    first, *others = study.ratios

    def ours(tokens: int, ratio: float = first, widths: str = UNIFORM, loss_kind: str = PLAIN) -> Training:
        return Training(widths, ratio, tokens, 0.0, 0, loss_kind=loss_kind)

    def theirs(tokens: int, ratio: float = first, widths: str = UNIFORM) -> Goal:
        cell = dataclasses.replace(ours(tokens, ratio, widths), recipe=LLM_PRUNER, schedule="linear")
        return Goal(cell, study.count_seeds(tokens), rate=LLM_PRUNER_RATE)

    def tuned(tokens: int, shorter: int | None = None, loss_kind: str = PLAIN) -> Goal:
        before = ours(shorter, loss_kind=loss_kind) if shorter is not None else None
        if before is None and loss_kind != PLAIN:
            before = ours(tokens)
        return Goal(ours(tokens, loss_kind=loss_kind), study.count_seeds(tokens), start=before)

    def alike(tokens: int, ratio: float, widths: str) -> Goal:
        return Goal(ours(tokens, ratio, widths), study.count_seeds(tokens), tuned=ours(tokens))

    others_kinds = [kind for kind in LOSS_KINDS if kind != PLAIN]
    goals = [tuned(short)]
    goals.append(Goal(ours(short), study.count_seeds(short), rate=study.learning_rate))
    goals += [tuned(middle, short), theirs(middle)]
    goals += [tuned(short, loss_kind=kind) for kind in others_kinds]
    for ratio in others:
        goals += [alike(middle, ratio, UNIFORM), theirs(middle, ratio)]
    for ratio in study.ratios:
        goals += [alike(middle, ratio, SEARCHED), theirs(middle, ratio, SEARCHED)]
    goals += [tuned(middle, short, loss_kind=kind) for kind in others_kinds]
    goals += [Goal(ours(middle), study.count_seeds(middle), rate=study.learning_rate)]
    goals += [tuned(long, middle, loss_kind=kind) for kind in LOSS_KINDS]
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
    if goal.rate is not None:
        rate: float | None = goal.rate
    else:
        cell = goal.tuned or goal.cell
        begin = find_best_rate(goal.start, found) if goal.start is not None else None
        same_loss = goal.start is not None and goal.start.tokens < goal.cell.tokens
        untried = list_untried(
            cell, found, start=begin or study.learning_rate, upward=not (same_loss and begin is not None)
        )
        if untried:
            if goal.tuned is None:
                for each in untried:
                    yield dataclasses.replace(cell, learning_rate=each, seed=TUNING_SEED)
            return
        rate = find_best_rate(cell, found)
    if rate is None:  # every rate diverged
        return
    for seed in range(goal.seeds):
        yield dataclasses.replace(goal.cell, learning_rate=rate, seed=seed)


def count_left(study: Study, found: Mapping[Training, Record]) -> list[tuple[Training, int]]:
    """Return the kinds of trainings that are left and how many of each, those of later tunings guessed."""
    done: dict[tuple[Training, bool, float], int] = {}
    for training in found:
        key = (training.cell, training.seed == TUNING_SEED, training.learning_rate)
        done[key] = done.get(key, 0) + 1
    left = []
    for goal in list_goals(study):
        rate = goal.rate if goal.rate is not None else find_best_rate(goal.tuned or goal.cell, found)
        judged = done.get((goal.cell, False, rate), 0) if rate is not None else 0
        count = max(goal.seeds - judged, 0)
        if goal.rate is None and goal.tuned is None:
            tried = sum(number for (cell, tuning, _), number in done.items() if cell == goal.cell and tuning)
            count += max(FEWEST_TRIED - tried, 0)
        if count:
            left.append((goal.cell, count))
    return left


def find_cell_order(study: Study) -> Sequence[Training]:
    """Return the cells of all goals in their order, each once."""
    return list(dict.fromkeys(goal.cell for goal in list_goals(study)))
