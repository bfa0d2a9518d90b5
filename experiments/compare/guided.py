"""Methods that measure trials and choose among them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.compare.choice import Choice
from experiments.compare.learned import learn_without
from rankadaptor.errors import InputError
from rankadaptor.predictor import Predictor, make_predictor
from rankadaptor.search import Search, draw_random
from rankadaptor.space import Allocation, Values

if TYPE_CHECKING:
    from experiments.compare.arena import Arena
    from experiments.compare.config import ComparisonConfig
    from rankadaptor.corpus import Record

PAPER_INITIAL = 8
FINALISTS = 3
RESERVE = 1 / 3
"""Share of the trials that `ours` keeps to measure its finalists again, under seeds that chose none."""
SELECTION_SEED = 500
"""These seeds start this far above the search's, and below those of every confirmation."""


def choose_random(arena: Arena, given: ComparisonConfig) -> Choice:
    """Take the best measured of random allocations, or uniform if it beats them all."""
    drawn = draw_random(arena.space, given.trials - 1, seed=arena.seed)
    return take_best_measured(arena, arena.measure(drawn, label="random"))


def choose_by_trees(arena: Arena, given: ComparisonConfig) -> Choice:
    """Search with boosted trees that know nothing but this search's records."""
    predictor = make_predictor("boosted_trees", seed=arena.seed)
    search = run_search(arena, given, predictor, trials=given.trials - 1)
    return take_expected_best(arena, search)


def choose_like_paper(arena: Arena, given: ComparisonConfig) -> Choice:
    """Search as the paper does: five meta-trained layers on the rank vector, their first choice each time.

    The loop evaluates what the network thinks best, adds it to the data, and trains on [RankAdaptor]_.
    Without a corpus to be meta-trained on, the network first sees allocations spread over the space.
    """
    predictor = learn_without(arena, given.corpus, name="meta_perceptron")
    initial = 0 if predictor.pretrained else min(PAPER_INITIAL, given.trials // 2)
    search = run_search(arena, given, predictor, trials=given.trials - 1, proposal="greedy", initial=initial)
    return take_best_measured(arena, search.records)


def choose_ours(arena: Arena, given: ComparisonConfig) -> Choice:
    """Search with the default predictor, then measure the finalists again under other seeds.

    Half of the search draws from what the predictor believes, the other half takes what it thinks best. A
    search's best is flattered by its luck; a third of the trials goes into second opinions. If after them no
    finalist is expected to gain, uniform it is.
    """
    predictor = learn_without(arena, given.corpus, name="meta")
    search = run_search(
        arena,
        given,
        predictor,
        trials=share_trials(given)[0],
        proposal="thompson",
        then="greedy",
        stop=given.stop,
    )
    return take_second_opinions(arena, given, search)


def share_trials(given: ComparisonConfig) -> tuple[int, int]:
    """Return the trials to search with and the seeds to measure finalists again under."""
    seeds = max(1, int(given.trials * RESERVE) // (FINALISTS + 1))
    return max(1, given.trials - 1 - seeds * (FINALISTS + 1)), seeds


def take_second_opinions(arena: Arena, given: ComparisonConfig, search: Search) -> Choice:
    """Measure a search's finalists under other seeds, and choose by all records.

    One finalist was not measured before: what the predictor, having seen all, thinks best.
    """
    searched, seeds = len(search.records), share_trials(given)[1]
    finalists = rank_measured(search)[: FINALISTS - 1]
    with contextlib.suppress(InputError):  # a small space may be measured whole
        finalists += [allocation.values for allocation in search.with_proposal("greedy").ask()]
    for seed in range(arena.seed + SELECTION_SEED, arena.seed + SELECTION_SEED + seeds):
        allocations = [arena.space.allocation(values) for values in finalists]
        search.tell(arena.measure(allocations, label="finalists again", seed=seed))
    choice = take_expected_best(arena, search, among=finalists)
    details = {**choice.details, "searched": searched, "finalists": [list(values) for values in finalists]}
    return dataclasses.replace(choice, details=details)


def run_search(
    arena: Arena,
    given: ComparisonConfig,
    predictor: Predictor,
    *,
    trials: int,
    proposal: str = "expected_improvement",
    then: str | None = None,
    initial: int | None = None,
    stop: bool = False,
) -> Search:
    """Ask, measure and tell until so many trials are measured, or nothing promises more than the noise.

    Args:
        arena: The setting.
        given: Gives the size of a batch.
        predictor: What guides it.
        trials: Records to reach.
        proposal: How candidates are chosen.
        then: How they are chosen in the second half, if otherwise.
        initial: See `Search`.
        stop: Whether to stop where nothing promises more than the noise.
    """
    search = Search(
        arena.space,
        predictor,
        seed=arena.seed,
        proposal=proposal,
        candidates=arena.config.search.candidates,
        initial=initial,
    )
    for chosen in dict.fromkeys((proposal, then or proposal)):
        search = search if chosen == search.proposal else search.with_proposal(chosen)
        search.run_batches(
            functools.partial(_measure_batch, arena, search, trials=trials),
            evaluations=trials,
            batch=given.batch,
            stop_below_noise=stop,
            until=_is_half_done(trials) if then is not None and chosen != then else None,
        )
    return search


def _measure_batch(arena: Arena, search: Search, batch: Sequence[Allocation], *, trials: int) -> list[Record]:
    return arena.measure(batch, label=f"{search.predictor.name} {len(search.records)}/{trials}")


def _is_half_done(trials: int) -> Callable[[Search], bool]:
    return lambda search: 2 * len(search.records) >= trials


def rank_measured(search: Search) -> list[Values]:
    """Return the measured allocations, those that are expected to gain most first."""
    usable = list(dict.fromkeys(record.values for record in search.records if record.gain is not None))
    if not usable:
        return []
    allocations = [search.space.allocation(values) for values in usable]
    means = search.conditioned.predict(search.space, allocations).mean
    return [usable[index] for index in (-means).argsort(kind="stable")]


def take_best_measured(arena: Arena, records: Sequence[Record]) -> Choice:
    """Choose the largest measured gain, uniform's 0 included."""
    usable = [record for record in records if record.gain is not None]
    best = max(usable, key=lambda record: record.gain or 0.0, default=None)
    found = best is not None and (best.gain or 0.0) > 0
    return Choice(
        best.values if found and best is not None else arena.space.reference().values,
        arena.count_tokens(records),
        arena.count_seconds(records),
        details={"trials": len(records), "measured_gain": best.gain if best is not None else None},
    )


def take_expected_best(arena: Arena, search: Search, *, among: Sequence[Values] | None = None) -> Choice:
    """Choose what the predictor, having seen all records, expects to gain most; uniform if nothing gains."""
    ranked = [values for values in rank_measured(search) if among is None or values in among]
    details: dict[str, Any] = {"trials": len(search.records), "expected_gain": None}
    values = arena.space.reference().values
    if ranked:
        best = arena.space.allocation(ranked[0])
        expected = float(search.conditioned.predict(arena.space, [best]).mean[0])
        details["expected_gain"] = expected
        values = best.values if expected > 0 else values
    tokens, seconds = arena.count_tokens(search.records), arena.count_seconds(search.records)
    return Choice(values, tokens, seconds, details=details)
