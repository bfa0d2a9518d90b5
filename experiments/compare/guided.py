"""Methods that search by trials."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.compare.choice import Choice
from experiments.compare.learned import learn_without
from rankadaptor.defaults import SEARCH
from rankadaptor.errors import InputError
from rankadaptor.predictor import Predictor, make_predictor
from rankadaptor.search import Search, draw_random
from rankadaptor.space import Allocation, Values

if TYPE_CHECKING:
    from experiments.compare.config import ComparisonConfig
    from experiments.compare.prepared_setting import PreparedSetting
    from rankadaptor.corpus import Record

PAPER_INITIAL = 8
FINALISTS = 3
RESERVE = 1 / 3
"""Share of the trials that measure the finalists again, under seeds that the search did not use."""
SELECTION_SEED = 500
"""These seeds start this far above the search's, and below those of every confirmation."""


def choose_random(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Take the random allocation with the largest measured gain; uniform if none gains."""
    drawn = draw_random(prepared.space, given.trials - 1, seed=prepared.seed)
    return take_best_measured(prepared, prepared.measure(drawn, label="random"))


def choose_by_trees(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Search with boosted trees that are fitted to this search's records alone."""
    predictor = make_predictor("boosted_trees", seed=prepared.seed)
    search = run_search(prepared, given, predictor, trials=given.trials - 1)
    return take_expected_best(prepared, search)


def choose_like_paper(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Search as the paper does, with a meta-trained network of five layers on the rank vector.

    Each turn measures the allocation with the largest predicted gain and trains the network further
    [RankAdaptor]_. Without a corpus for meta-training, the search begins with allocations spread over the
    space.
    """
    predictor = learn_without(prepared, given.corpus, name="meta_perceptron")
    initial = 0 if predictor.pretrained else min(PAPER_INITIAL, given.trials // 2)
    search = run_search(
        prepared, given, predictor, trials=given.trials - 1, proposal="greedy", initial=initial
    )
    return take_best_measured(prepared, search.records)


def choose_as_run(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Search as `rankadaptor run` does by default, with all trials of the comparison.

    Predictor, acquisition function, batch and the choice at the end are those of a run file without a
    `search` section. The verdict of a run is not part of it: this comparison judges every choice itself.
    """
    predictor = learn_without(prepared, given.corpus, name="meta")
    own = given.model_copy(update={"batch": SEARCH.batch})
    search = run_search(
        prepared,
        own,
        predictor,
        trials=given.trials - 1,
        proposal=SEARCH.proposal,
        stop=SEARCH.stop_below_noise,
    )
    result, records = search.result(), search.records
    return Choice(
        result.best.values,
        prepared.count_tokens(records),
        prepared.count_seconds(records),
        details={"trials": len(records), "expected_gain": result.expected_gain},
    )


def choose_remeasured(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Search with the default predictor, then measure the finalists again under other seeds.

    The first half of the search uses Thompson sampling, the second half the predicted mean. The best of a
    search is biased upwards by the noise of its own measurement, so a third of the trials is kept to measure
    three finalists again. If none of them is expected to gain after that, the choice is uniform.
    """
    predictor = learn_without(prepared, given.corpus, name="meta")
    search = run_search(
        prepared,
        given,
        predictor,
        trials=share_trials(given)[0],
        proposal="thompson",
        then="greedy",
        stop=given.stop,
    )
    return remeasure_finalists(prepared, given, search)


def share_trials(given: ComparisonConfig) -> tuple[int, int]:
    """Return the number of trials for the search, and of seeds under which finalists are measured again."""
    seeds = max(1, int(given.trials * RESERVE) // (FINALISTS + 1))
    return max(1, given.trials - 1 - seeds * (FINALISTS + 1)), seeds


def remeasure_finalists(prepared: PreparedSetting, given: ComparisonConfig, search: Search) -> Choice:
    """Measure a search's finalists under other seeds, and choose by all records.

    One finalist is new: the allocation with the largest predicted gain after all records.
    """
    searched, seeds = len(search.records), share_trials(given)[1]
    finalists = rank_measured(search)[: FINALISTS - 1]
    with contextlib.suppress(InputError):  # a small space may be measured whole
        finalists += [allocation.values for allocation in search.with_proposal("greedy").ask()]
    for seed in range(prepared.seed + SELECTION_SEED, prepared.seed + SELECTION_SEED + seeds):
        allocations = [prepared.space.allocation(values) for values in finalists]
        search.tell(prepared.measure(allocations, label="finalists again", seed=seed))
    choice = take_expected_best(prepared, search, among=finalists)
    details = {**choice.details, "searched": searched, "finalists": [list(values) for values in finalists]}
    return dataclasses.replace(choice, details=details)


def run_search(
    prepared: PreparedSetting,
    given: ComparisonConfig,
    predictor: Predictor,
    *,
    trials: int,
    proposal: str = "expected_improvement",
    then: str | None = None,
    initial: int | None = None,
    stop: bool = False,
) -> Search:
    """Ask, measure and tell until so many trials are measured or the search stops early.

    Args:
        prepared: The setting.
        given: Gives the size of a batch.
        predictor: Performance model of the search.
        trials: Records to reach.
        proposal: Acquisition function.
        then: Acquisition function of the second half, if it differs.
        initial: See `Search`.
        stop: Whether to stop once no candidate is expected to gain more than the noise.
    """
    search = Search(
        prepared.space,
        predictor,
        seed=prepared.seed,
        proposal=proposal,
        candidates=prepared.config.search.candidates,
        initial=initial,
    )
    for chosen in dict.fromkeys((proposal, then or proposal)):
        search = search if chosen == search.proposal else search.with_proposal(chosen)
        search.run_batches(
            functools.partial(_measure_batch, prepared, search, trials=trials),
            evaluations=trials,
            batch=given.batch,
            stop_below_noise=stop,
            until=_is_half_done(trials) if then is not None and chosen != then else None,
        )
    return search


def _measure_batch(
    prepared: PreparedSetting, search: Search, batch: Sequence[Allocation], *, trials: int
) -> list[Record]:
    return prepared.measure(batch, label=f"{search.predictor.name} {len(search.records)}/{trials}")


def _is_half_done(trials: int) -> Callable[[Search], bool]:
    return lambda search: 2 * len(search.records) >= trials


def rank_measured(search: Search) -> list[Values]:
    """Return the measured allocations, by descending predicted gain."""
    usable = list(dict.fromkeys(record.values for record in search.records if record.gain is not None))
    if not usable:
        return []
    allocations = [search.space.allocation(values) for values in usable]
    means = search.conditioned.predict(search.space, allocations).mean
    return [usable[index] for index in (-means).argsort(kind="stable")]


def take_best_measured(prepared: PreparedSetting, records: Sequence[Record]) -> Choice:
    """Choose the allocation with the largest measured gain; uniform if none is positive."""
    usable = [record for record in records if record.gain is not None]
    best = max(usable, key=lambda record: record.gain or 0.0, default=None)
    found = best is not None and (best.gain or 0.0) > 0
    return Choice(
        best.values if found and best is not None else prepared.space.reference().values,
        prepared.count_tokens(records),
        prepared.count_seconds(records),
        details={"trials": len(records), "measured_gain": best.gain if best is not None else None},
    )


def take_expected_best(
    prepared: PreparedSetting, search: Search, *, among: Sequence[Values] | None = None
) -> Choice:
    """Choose the allocation with the largest predicted gain; uniform if none is positive."""
    ranked = [values for values in rank_measured(search) if among is None or values in among]
    details: dict[str, Any] = {"trials": len(search.records), "expected_gain": None}
    values = prepared.space.reference().values
    if ranked:
        best = prepared.space.allocation(ranked[0])
        expected = float(search.conditioned.predict(prepared.space, [best]).mean[0])
        details["expected_gain"] = expected
        values = best.values if expected > 0 else values
    tokens, seconds = prepared.count_tokens(search.records), prepared.count_seconds(search.records)
    return Choice(values, tokens, seconds, details=details)
