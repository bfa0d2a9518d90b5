"""The smallest adapter whose recovered loss is not worse than uniform's."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.contest import check_seeds, load_settings, merge_rows
from experiments.compare.learned import find_corpus_digest, learn_without
from experiments.compare.prepared_setting import PreparedSetting, prepare_setting
from experiments.compare.tuned_initialisation import tune_initialisation
from experiments.smaller.config import SmallerConfig
from experiments.smaller.front_search import FrontSearch, is_usable
from experiments.smaller.page import write_smaller
from experiments.smaller.sizes import halve_sizes
from rankadaptor.pipeline.design import allocate_by_weights
from rankadaptor.search.front import draw_sizes

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

SHARES = (0.75, 0.5, 0.25)
"""Shares of the budget of the uniform allocations that are measured first."""


def find_smaller(config: SmallerConfig) -> list[dict[str, Any]]:
    """Find, per setting, the smallest searched adapter and the smallest uniform one that are not worse.

    The predictor is trained on trials of all sizes, and its Pareto front gives the best allocation of each
    size. A bisection of the sizes by full recoveries on fresh seeds decides which are not worse than uniform;
    these are recovered again on seeds that were not used to choose them.

    Returns:
        The rows of `halve_sizes` with `job` and `like_uniform`. The method is `searched`; `uniform`, a
        smaller rank everywhere; `started`, the same with initialisation and rate tuned on uniform ranks of
        half the budget; or `searched_started`, the searched ranks with this initialisation and rate.
    """
    rows: list[dict[str, Any]] = []
    for run in load_settings(config):
        check_seeds(run, config, trials=config.trials)
        run = run.model_copy(update={"space": _widen(run.space, config.like_uniform)})
        with prepare_setting(run, config.folder / run.name, workers=config.workers) as prepared:
            corpus = find_corpus_digest(config.corpus) or "none"
            learned = prepared.folder.complete(
                f"learn-{config.trials}x{config.batch}-{corpus[:8]}",
                functools.partial(_learn, prepared, config),
            )
            front = [prepared.space.allocation(tuple(entry["values"])) for entry in learned["front"]]
            found = [
                halve_sizes(prepared, config, "searched", front, cost=learned["tokens"]),
                halve_sizes(prepared, config, "uniform", list_uniforms(prepared.space), cost=0),
                *_halve_tuned(prepared, config, front, cost=learned["tokens"]),
            ]
        asked = {"like_uniform": config.like_uniform, "final_seeds": config.final.seeds}
        found = [{"job": config.name, **asked, **row} for row in found]
        rows += found
        merge_rows(
            Path(config.results),
            found,
            stale=functools.partial(is_stale, config=config),
            write=None
            if config.document is None
            else functools.partial(write_smaller, file=Path(config.document)),
        )
        for row in found:
            held = "not worse" if row["not_worse"] else "worse on fresh seeds"
            logger.info(
                "%s, %s: %.0f %% of uniform, %s", row["setting"], row["method"], 100 * row["share"], held
            )
    return rows


def is_stale(row: Mapping[str, Any], *, config: SmallerConfig) -> bool:
    """Tell whether a row of this job has other trials, seeds or another uniform rank than the job file."""
    asked = (config.trials, config.like_uniform, config.final.seeds)
    given = (row.get("trials"), row.get("like_uniform"), row.get("final_seeds"))
    return row.get("job") == config.name and given != asked


def list_uniforms(space: Space) -> list[Allocation]:
    """Return the allocations with one rank everywhere that all slots offer, cheapest first."""
    free = [slot for slot in space.slots if slot.pinned is None]
    common = set.intersection(*(set(slot.options) for slot in free)) - {0}
    rows = [
        tuple(slot.pinned if slot.pinned is not None else rank for slot in space.slots)
        for rank in sorted(common)
    ]
    return [space.allocation(values) for values in rows if space.contains(values)]


def _widen(space: Any, rank: int) -> Any:
    """Return a space section with another budget and with the ranks that smaller adapters need."""
    ranks = space.ranks and tuple(sorted({*space.ranks, *range(rank + 1)}))
    return space.model_copy(
        update={"like_uniform": rank, "parameters": None, "megabytes": None, "ranks": ranks}
    )


def _learn(prepared: PreparedSetting, config: SmallerConfig) -> dict[str, Any]:
    """Measure trials of all sizes, then allocations on the predicted front, and return the last front."""
    space, predictor = prepared.space, learn_without(prepared, config.corpus, name="meta")
    search = FrontSearch(space, predictor, seed=prepared.seed)
    search.tell(prepared.measure(_design_sizes(space, seed=prepared.seed), label="sizes"))

    def measure(batch: Sequence[Allocation]) -> list[Record]:
        return prepared.measure(batch, label=f"front {len(search.records)}/{config.trials}")

    search.run_batches(measure, evaluations=config.trials, batch=config.batch)
    front = search.find_front(seed=prepared.seed)
    return {
        "front": [entry for entry in front.to_json() if is_usable(space.allocation(tuple(entry["values"])))],
        "tokens": prepared.count_tokens(search.records),
        "trials": len(search.records),
    }


def _design_sizes(space: Space, *, seed: int) -> list[Allocation]:
    """Return smaller uniform allocations, random ones of all sizes, and one that uses the whole budget."""
    uniforms = [each for each in list_uniforms(space) if is_usable(each) and not each.is_reference]
    wanted = [share * space.bounds[0] for share in SHARES]
    designed = (
        [min(uniforms, key=lambda each: abs(each.cost() - cost)) for cost in wanted] if uniforms else []
    )
    drawn = [space.allocation(row.tolist()) for row in draw_sizes(space, 16, seed=seed)]
    depth = np.array([slot.attribute("depth") for slot in space.slots])
    designed += [each for each in drawn if is_usable(each) and not each.is_reference][:5]
    designed += [allocate_by_weights(space, 1.3 - 0.6 * depth)]
    return [each for each in dict.fromkeys(designed) if not each.is_reference]


def _halve_tuned(
    prepared: PreparedSetting, config: SmallerConfig, front: list[Allocation], *, cost: int
) -> list[dict[str, Any]]:
    """Find the smallest uniform and searched adapters with a tuned initialisation and rate.

    These are tuned on uniform ranks of half the budget, with as many trials as the search has. No rows if
    none could be measured.
    """
    ladder, half = list_uniforms(prepared.space), 0.5 * prepared.space.bounds[0]
    middle = min(ladder, key=lambda each: abs(each.cost() - half))
    tuned = tune_initialisation(prepared, middle, trials=config.trials)
    if all(loss is None for loss in tuned.details["recipes"].values()):
        return []
    given = {"initialisation": tuned.initialisation, "learning_rate": tuned.learning_rate}
    rows = [
        halve_sizes(prepared, config, "started", ladder, cost=tuned.tokens, tuned=tuned),
        halve_sizes(prepared, config, "searched_started", front, cost=cost + tuned.tokens, tuned=tuned),
    ]
    return [{**row, **given} for row in rows]
