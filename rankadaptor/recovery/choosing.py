"""Choosing the recipe of a recovery by successive halving on the reference, for less than half its cost.

The candidates are all combinations of a grid over fields of the recipe. All are trained briefly, the better
ones longer, each with a schedule that ends where its training ends: a candidate whose rate has not fallen
yet cannot be compared with one whose rate has (see docs/decisions/0045).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from rankadaptor.defaults import CHOICE
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.grid import (
    METHOD,
    RATE,
    Changes,
    describe_changes,
    list_candidates,
    plan_rungs,
    raise_rate,
)

if TYPE_CHECKING:
    from rankadaptor.data.rows import Source
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

FIXED = frozenset(
    {"steps", "batch_size", "micro_batch_size", "sequence_length", "gradient_checkpointing", "reference_rank"}
)
"""Fields that say how much is trained and where: candidates that differ in them cannot be compared."""


class Outcome(Protocol):
    """What a short training gives; a trial has these attributes."""

    @property
    def loss(self) -> float | None:
        """Held-out loss in nats per token; None if it diverged."""

    @property
    def tokens(self) -> int:
        """Tokens trained on."""

    @property
    def seconds(self) -> float:
        """Duration."""

    @property
    def error(self) -> str | None:
        """Why it diverged."""


Measure = Callable[[Sequence[Recipe]], Sequence[Outcome]]
"""Trains each recipe over its own `steps` and measures it; those of one call may run in parallel."""


@dataclass(frozen=True)
class RecipeTry:
    """One short training of a candidate.

    Attributes:
        changes: The candidate; its rate is the one that it would have in the recovery.
        steps: Optimiser steps of this training.
        rate: Peak rate of this training, which is higher the shorter it is.
        loss: Held-out loss in nats per token; None if it diverged.
        tokens: Tokens trained on.
        seconds: Duration.
        error: Why it diverged, else None.
    """

    changes: Changes
    steps: int
    rate: float
    loss: float | None
    tokens: int
    seconds: float
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {
            "changes": dict(self.changes)
        }


@dataclass(frozen=True)
class ChosenRecipe:
    """The chosen recipe and what was tried.

    Attributes:
        recipe: The recipe of the recovery, its `steps` included.
        changes: What was chosen, by field of the recipe.
        rungs: The trainings of each rung, the shortest first; empty where there was nothing to choose.
        left_out: Candidates that the cost allowed no training for.
    """

    recipe: Recipe
    changes: Changes
    rungs: tuple[tuple[RecipeTry, ...], ...] = field(repr=False)
    left_out: tuple[Changes, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens trained on, of all trainings."""
        return sum(each.tokens for rung in self.rungs for each in rung)

    @property
    def steps(self) -> int:
        """Optimiser steps of all trainings."""
        return sum(each.steps for rung in self.rungs for each in rung)

    def to_json(self) -> dict[str, Any]:
        """Return the choice and all trainings as a JSON-like dict."""
        return {
            "recipe": self.recipe.to_json(),
            "changes": dict(self.changes),
            "rungs": [[each.to_json() for each in rung] for rung in self.rungs],
            "left_out": [dict(each) for each in self.left_out],
            "tokens": self.tokens,
            "share": self.steps / self.recipe.steps,
        }


def halve_recipes(
    measure: Measure,
    *,
    recipe: Recipe,
    grid: Mapping[str, Sequence[Any]],
    share: float = CHOICE.share,
    keep: float = CHOICE.keep,
    least: int = CHOICE.least_steps,
    power: float = CHOICE.rate_power,
) -> ChosenRecipe:
    """Choose values of a grid by successive halving [SHA]_ for a recovery of `recipe.steps`.

    Every rung gets the same part of the steps that may be spent, divided evenly among its candidates. At a
    rung of `n` steps the rate is `(steps / n) ** power` times that of the candidate, because the best rate
    falls with the length. If the best rate of a rung is the lowest or highest of the grid, the next one
    beyond it takes part in the next rung. Where there are more candidates than the steps allow, those are
    left out that differ from the first values of the grid in most fields other than the rate.

    Args:
        measure: Trains and measures on the reference.
        recipe: Gives all values that the grid does not, and the length of the recovery in `steps`.
        grid: Fields of the recipe → values to try, the usual one first.
        share: Steps that may be spent, as a share of the recovery's.
        keep: Share of the candidates that goes on to the next rung; two at least, for the last comparison.
        least: Steps of a training at least.
        power: Power of the ratio of lengths by which rates are raised.

    Raises:
        InputError: If a field or number makes no sense.
        TrainingError: If every candidate diverges.
    """
    _check(grid, share=share, keep=keep, least=least)
    candidates = list_candidates(grid)
    if len(candidates) == 1:
        return ChosenRecipe(recipe.replace(**candidates[0]), candidates[0], ())
    budget = math.floor(share * recipe.steps)
    rungs, affordable = plan_rungs(len(candidates), budget=budget, keep=keep, least=least)
    if not rungs:
        logger.warning(
            "a recovery of %d steps leaves %d to choose its recipe, too few for two trainings of %d: "
            "the first values of the grid are taken",
            recipe.steps, budget, least,
        )  # fmt: skip
        return ChosenRecipe(recipe.replace(**candidates[0]), candidates[0], (), tuple(candidates[1:]))
    left_out = tuple(candidates[affordable:])
    if left_out:
        logger.info(
            "%d of %d candidates are tried; %d steps allow no more", affordable, len(candidates), budget
        )
    climbing, done = candidates[:affordable], list[tuple[RecipeTry, ...]]()
    for number in range(rungs):
        steps = budget // ((rungs - number) * len(climbing))
        if steps < least:
            break
        rung = _train_rung(measure, climbing, recipe=recipe, steps=steps, power=power)
        done.append(rung)
        budget -= steps * len(climbing)
        ranked = [each for each in sorted(rung, key=_rank) if each.loss is not None]
        if not ranked:
            break
        count = max(2, math.ceil(keep * len(rung)))
        climbing = [dict(each.changes) for each in ranked[:count]]
        if (further := _extend(ranked[0].changes, candidates, tried=done)) is not None:
            climbing = [climbing[0], further, *climbing[1 : count - 1]]
    best = min((each for each in done[-1]), key=_rank)
    if best.loss is None:
        raise TrainingError(
            f"Every recipe tried diverged: {'; '.join(describe_changes(each.changes) for each in done[-1])}. "
            "Give lower learning rates, or check the model and the data.",
            step=0,
        )
    chosen = recipe.replace(**best.changes)
    result = ChosenRecipe(chosen, dict(best.changes), tuple(done), left_out)
    logger.info(
        "chosen recipe: %s, from %d trainings of %d tokens",
        describe_changes(best.changes), sum(map(len, done)), result.tokens,
    )  # fmt: skip
    return result


def choose_recipe(
    pruned: Any,
    tokenizer: Any,
    allocation: Allocation,
    *,
    data: Source,
    held_out: Source,
    recipe: Recipe | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    steps: int | None = None,
    share: float = CHOICE.share,
    seed: int = 0,
    compute: Compute | None = None,
    teacher: Any = None,
) -> ChosenRecipe:
    """Choose the recipe of a recovery on a pruned model; `halve_recipes` says how.

    Args:
        pruned: The pruned model; unchanged afterwards.
        tokenizer: Its tokenizer.
        allocation: Ranks to train, normally those of the reference, `space.reference()`.
        data: Training rows, a path, or a kit name.
        held_out: Rows to score on, disjoint from `data`.
        recipe: Gives all other values; `Recipe()` by default.
        grid: Fields of the recipe → values to try, the usual one first; a few learning rates by default.
        steps: Optimiser steps of the recovery; the recipe's by default.
        share: Cost of the choice at most, as a share of the recovery's.
        seed: Start of the adapter and order of the data.
        compute: Device, precision and threads; chosen and logged by default.
        teacher: The model that the losses of some candidates follow; see `recover`.

    Raises:
        InputError: If a field or number makes no sense, or data or teacher do not fit.
        TrainingError: If every candidate diverges.
    """
    from rankadaptor.recovery.teachers import find_teacher
    from rankadaptor.recovery.trial import train_trial
    from rankadaptor.runtime import choose_compute
    from rankadaptor.training.sources import load_pair

    recipe = recipe if recipe is not None else Recipe()
    compute = compute if compute is not None else choose_compute()
    sequences, scored = load_pair(data, held_out, tokenizer, max_length=recipe.sequence_length, model=pruned)
    guide = find_teacher(teacher, tokenizer, compute=compute)

    def measure(recipes: Sequence[Recipe]) -> list[Outcome]:
        return [
            train_trial(
                pruned,
                allocation,
                each,
                sequences=sequences,
                held_out=scored,
                steps=each.steps,
                seed=seed,
                compute=compute,
                teacher=guide if each.needs_teacher else None,
            )
            for each in recipes
        ]

    return halve_recipes(
        measure,
        recipe=recipe.replace(steps=steps if steps is not None else recipe.steps),
        grid=grid if grid is not None else {RATE: CHOICE.learning_rates},
        share=share,
    )


def _check(grid: Mapping[str, Sequence[Any]], *, share: float, keep: float, least: int) -> None:
    known = {each.name for each in fields(Recipe)} - FIXED
    if unknown := sorted(set(grid) - known):
        raise InputError(f"grid names {', '.join(unknown)}. Allowed are {', '.join(sorted(known))}.")
    if empty := sorted(name for name, values in grid.items() if not len(values)):
        raise InputError(f"grid: no value for {', '.join(empty)}. Give at least one, or leave the field out.")
    if not grid or any(rate <= 0 for rate in grid.get(RATE, ())):
        raise InputError(
            f"grid={dict(grid)}: give values to try, rates above 0, for example "
            "{'learning_rate': (3e-3, 1e-3)}."
        )
    if not (share > 0 and 0 < keep < 1 and least >= 1):
        raise InputError(
            f"share={share}, keep={keep}, least={least}: shares above 0, keep below 1, and at least 1 step."
        )


def _train_rung(
    measure: Measure, climbing: Sequence[Changes], *, recipe: Recipe, steps: int, power: float
) -> tuple[RecipeTry, ...]:
    recipes = [recipe.replace(**each, steps=steps) for each in climbing]
    recipes = [
        each.replace(
            learning_rate=raise_rate(each.learning_rate, steps=recipe.steps, short=steps, power=power)
        )
        for each in recipes
    ]
    rung = []
    for changes, tried, outcome in zip(climbing, recipes, measure(recipes), strict=True):
        loss = "diverged" if outcome.loss is None else f"loss {outcome.loss:.4f}"
        logger.info("%s: %s after %d steps", describe_changes(changes), loss, steps)
        rung.append(
            RecipeTry(
                changes=changes,
                steps=steps,
                rate=tried.learning_rate,
                loss=outcome.loss,
                tokens=outcome.tokens,
                seconds=outcome.seconds,
                error=outcome.error,
            )
        )
    return tuple(rung)


def _extend(
    best: Changes, candidates: Sequence[Changes], *, tried: Sequence[Sequence[RecipeTry]]
) -> dict[str, Any] | None:
    """Return the candidate beyond the best one, if its rate is the lowest or highest that was tried."""
    rates = sorted({each[RATE] for each in candidates if RATE in each and _is_alike(each, best)})
    if len(rates) < 2:
        return None
    factor = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
    known = {each.changes[RATE] for each in _flatten(tried) if _is_alike(each.changes, best)}
    rate = float(best[RATE])
    if rate == max(known):
        return {**best, RATE: float(f"{rate * factor:.3g}")}
    return {**best, RATE: float(f"{rate / factor:.3g}")} if rate == min(known) else None


def _is_alike(one: Changes, other: Changes) -> bool:
    """Tell whether two candidates have the same method, so that their rates can be compared."""
    return bool(one.get(METHOD) == other.get(METHOD))


def _flatten(rungs: Sequence[Sequence[RecipeTry]]) -> Iterator[RecipeTry]:
    return itertools.chain.from_iterable(rungs)


def _rank(each: RecipeTry) -> float:
    return math.inf if each.loss is None else each.loss
