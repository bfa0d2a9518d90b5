"""Recipe tuning: learning rate and scaling exponent are tuned before any allocation is compared.

The learning rate changes the loss ten times more than the allocation, and with one LoRA scale for all ranks a
larger rank acts like a larger learning rate; see docs/concepts.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rankadaptor.components.adapter import read_ranks
from rankadaptor.data.rows import Source
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.recipe import EXPONENT_PROBES, RANDOM
from rankadaptor.recovery.teachers import find_teacher
from rankadaptor.recovery.trial import train_trial
from rankadaptor.runtime import choose_compute
from rankadaptor.training.sources import load_pair

if TYPE_CHECKING:
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation, Space, Values

logger = logging.getLogger(__name__)

EXTENSIONS = 3  # times the grid of rates may grow beyond its best edge


@dataclass(frozen=True)
class RecipeTrial:
    """One short fine-tune of a tuning.

    Attributes:
        learning_rate: Peak rate tried.
        scaling_exponent: γ tried.
        values: The allocation trained, one rank per slot.
        loss: Held-out loss in nats per token; None if the run diverged.
        seconds: Its duration.
        error: Why it diverged, else None.
        initialisation: Initialisation of the adapter.
    """

    learning_rate: float
    scaling_exponent: float
    values: Values
    loss: float | None
    seconds: float
    error: str | None = None
    initialisation: str = RANDOM

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        return asdict(self)


@dataclass(frozen=True)
class TunedRecipe:
    """The chosen recipe, and all trials in order."""

    recipe: Recipe
    trials: tuple[RecipeTrial, ...] = field(repr=False)


class Outcome(Protocol):
    """The attributes of a trial that tuning reads; a `Record` has them."""

    @property
    def values(self) -> Values:
        """One rank per slot."""

    @property
    def loss(self) -> float | None:
        """Held-out loss in nats per token, None if the run diverged."""

    @property
    def seconds(self) -> float:
        """Duration."""

    @property
    def error(self) -> str | None:
        """Why it diverged."""


def choose_rate(
    measure: Callable[[Sequence[Recipe]], Sequence[Outcome]],
    *,
    recipe: Recipe,
    learning_rates: Sequence[float],
) -> TunedRecipe:
    """Choose the learning rate with the lowest loss of `measure`, normally a short fine-tune of uniform.

    If the best rate is the smallest or largest one, the grid is extended beyond it by its own factor, at most
    three times; a grid of one rate is not extended. Diverged trials stay in the list and are never chosen.

    Args:
        measure: Gives one outcome per recipe; recipes of one call may run in parallel.
        recipe: Gives all values but the rate.
        learning_rates: Rates to try.

    Raises:
        InputError: If there is no rate, or one is not positive.
        TrainingError: If every rate diverges.
    """
    grid = sorted(set(learning_rates))
    if not grid or grid[0] <= 0:
        raise InputError(
            f"learning_rates={tuple(learning_rates)}: give positive rates, for example (1e-3, 3e-3)."
        )
    factor = (grid[-1] / grid[0]) ** (1 / (len(grid) - 1)) if len(grid) > 1 else 1.0
    trials: dict[float, RecipeTrial] = {}

    def try_rates(rates: Sequence[float]) -> None:
        recipes = [recipe.replace(learning_rate=rate) for rate in rates]
        for tried, outcome in zip(recipes, measure(recipes), strict=True):
            trials[tried.learning_rate] = _note(tried, outcome)

    try_rates(grid)
    for _ in range(EXTENSIONS if len(grid) > 1 else 0):
        lowest, highest = min(trials), max(trials)
        best = min(trials, key=lambda rate: (_rank_loss(trials[rate]), rate))
        if best not in (lowest, highest):
            break
        further = best / factor if best == lowest else best * factor
        logger.info("the best learning rate %.3g is at the edge of the grid; trying %.3g too", best, further)
        try_rates([further])
    best = min(trials, key=lambda rate: (_rank_loss(trials[rate]), rate))
    if trials[best].loss is None:
        raise TrainingError(
            f"Every learning rate diverged ({', '.join(f'{rate:.3g}' for rate in sorted(trials))}). "
            "Give lower rates, or check the model and the data.",
            step=0,
        )
    return TunedRecipe(recipe.replace(learning_rate=best), tuple(trials[rate] for rate in sorted(trials)))


def choose_both(
    measure: Callable[[Sequence[tuple[Allocation, Recipe]]], Sequence[Outcome]],
    space: Space,
    *,
    recipe: Recipe,
    learning_rates: Sequence[float],
    scaling_exponents: Sequence[float] | None = None,
    initialisations: Sequence[str] | None = None,
    seed: int = 0,
) -> TunedRecipe:
    """Choose the learning rate on uniform, then the scaling exponent on a few random allocations.

    `reference_rank` is set to uniform's rank, so that at uniform all exponents agree and the rate is chosen
    once, for each initialisation; see `choose_rate` for the grid. If more than one exponent is given, each
    trains the same two random allocations of the space at the chosen rate, and the lowest mean held-out loss
    wins; with one exponent nothing more is run.

    Args:
        measure: Gives one outcome per allocation and recipe; those of one call may run in parallel.
        space: Gives uniform and the random allocations.
        recipe: Gives all other values.
        learning_rates: Rates to try.
        scaling_exponents: Exponents to try; the recipe's own by default.
        initialisations: Initialisations to try, each at every rate; the recipe's own by default.
        seed: Of the random allocations.

    Raises:
        InputError: If a list is empty or has a rate that is not positive.
        TrainingError: If every rate diverges.
    """
    exponents = tuple(scaling_exponents) if scaling_exponents is not None else (recipe.scaling_exponent,)
    if not exponents:
        raise InputError("scaling_exponents=(): give at least one, for example (0.0, 0.5, 1.0).")
    uniform = space.reference()
    ranks = {rank for rank in read_ranks(uniform).values() if rank > 0}
    if len(ranks) == 1:
        recipe = recipe.replace(reference_rank=ranks.pop())
    starts = tuple(initialisations) if initialisations is not None else (recipe.initialisation,)
    if not starts:
        raise InputError("initialisations=(): give at least one, for example ('random', 'gradient').")
    found: list[TunedRecipe] = []
    failures: list[TrainingError] = []
    on_uniform: list[RecipeTrial] = []

    def measure_uniform(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
        outcomes = measure([(uniform, tried) for tried in recipes])
        on_uniform.extend(_note(*each) for each in zip(recipes, outcomes, strict=True))
        return outcomes

    for start in dict.fromkeys(starts):
        try:
            one = choose_rate(
                measure_uniform,
                recipe=recipe.replace(scaling_exponent=exponents[0], initialisation=start),
                learning_rates=learning_rates,
            )
        except TrainingError as error:  # the other start may be sound
            failures.append(error)
        else:
            found.append(one)
    if not found:
        raise failures[0]
    best_start = min(found, key=lambda one: min(_rank_loss(trial) for trial in one.trials))
    order = list(dict.fromkeys(starts))
    on_uniform.sort(key=lambda trial: (order.index(trial.initialisation), trial.learning_rate))
    tuned = TunedRecipe(best_start.recipe, tuple(on_uniform))
    if len(exponents) == 1:
        return tuned
    probes = space.sample(EXPONENT_PROBES, seed=seed)
    tried = [
        (probe, tuned.recipe.replace(scaling_exponent=exponent)) for exponent in exponents for probe in probes
    ]
    trials = [_note(each, outcome) for (_, each), outcome in zip(tried, measure(tried), strict=True)]
    best = min(
        exponents,
        key=lambda exponent: sum(_rank_loss(one) for one in trials if one.scaling_exponent == exponent),
    )
    logger.info("scaling exponent %g of %s", best, exponents)
    return TunedRecipe(tuned.recipe.replace(scaling_exponent=best), (*tuned.trials, *trials))


def tune_recipe(
    pruned: Any,
    tokenizer: Any,
    space: Space,
    *,
    data: Source,
    held_out: Source,
    recipe: Recipe,
    learning_rates: Sequence[float],
    scaling_exponents: Sequence[float] | None = None,
    initialisations: Sequence[str] | None = None,
    steps: int,
    seed: int = 0,
    compute: Compute | None = None,
    on_trial: Callable[[RecipeTrial], None] | None = None,
    known: Sequence[RecipeTrial] = (),
    teacher: Any = None,
) -> TunedRecipe:
    """Tune the learning rate on uniform, then the scaling exponent on a few random allocations.

    `choose_both` says how they are chosen. All trials share one seed.

    Args:
        pruned: The pruned model; unchanged afterwards.
        tokenizer: Its tokenizer.
        space: Gives uniform and the random allocations.
        data: Training rows, a path, or a kit name.
        held_out: Rows to score on, disjoint from `data`.
        recipe: Gives all other values.
        learning_rates: Rates to try.
        scaling_exponents: Exponents to try; the recipe's own by default.
        initialisations: Initialisations to try, each at every rate; the recipe's own by default.
        steps: Optimiser steps of each trial.
        seed: Initialisation, data order and the random allocations.
        compute: Device, precision and threads.
        on_trial: Called after each new trial.
        known: Trials measured already under this seed and these steps, which are not run again.
        teacher: The model that the recipe's loss follows; see `recover`.

    Raises:
        InputError: If a list is empty or has a rate that is not positive, or teacher and recipe do not fit.
        TrainingError: If every rate diverges.
    """
    compute = compute if compute is not None else choose_compute()
    sequences, scored = load_pair(data, held_out, tokenizer, max_length=recipe.sequence_length, model=pruned)
    guide = find_teacher(teacher, tokenizer, compute=compute)
    measured = {
        (trial.learning_rate, trial.scaling_exponent, trial.initialisation, trial.values): trial
        for trial in known
    }

    def train(allocation: Allocation, tried: Recipe) -> RecipeTrial:
        found = measured.get(
            (tried.learning_rate, tried.scaling_exponent, tried.initialisation, allocation.values)
        )
        if found is not None:
            return found
        done = train_trial(
            pruned,
            allocation,
            tried,
            sequences=sequences,
            held_out=scored,
            steps=steps,
            seed=seed,
            compute=compute,
            teacher=guide,
        )
        trial = RecipeTrial(
            learning_rate=tried.learning_rate,
            scaling_exponent=tried.scaling_exponent,
            values=allocation.values,
            loss=done.loss,
            seconds=done.seconds,
            error=done.error,
            initialisation=tried.initialisation,
        )
        _tell(trial)
        if on_trial is not None:
            on_trial(trial)
        return trial

    return choose_both(
        lambda tried: [train(allocation, recipe) for allocation, recipe in tried],
        space,
        recipe=recipe,
        learning_rates=learning_rates,
        scaling_exponents=scaling_exponents,
        initialisations=initialisations,
        seed=seed,
    )


def _tell(trial: RecipeTrial) -> None:
    loss = "diverged" if trial.loss is None else f"held-out loss {trial.loss:.4f}"
    logger.info(
        "learning rate %.3g, exponent %g, %s initialisation: %s",
        trial.learning_rate, trial.scaling_exponent, trial.initialisation, loss,
    )  # fmt: skip


def _note(recipe: Recipe, outcome: Outcome) -> RecipeTrial:
    return RecipeTrial(
        learning_rate=recipe.learning_rate,
        scaling_exponent=recipe.scaling_exponent,
        values=outcome.values,
        loss=outcome.loss,
        seconds=outcome.seconds,
        error=outcome.error,
        initialisation=recipe.initialisation,
    )


def _rank_loss(trial: RecipeTrial) -> float:
    return math.inf if trial.loss is None else trial.loss
