"""The smallest adapter whose recovered loss is not worse than uniform's."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.arena import Arena, open_arena
from experiments.compare.contest import check_seeds, load_settings, merge_rows
from experiments.compare.learned import find_corpus_digest, learn_without
from experiments.compare.started import tune_start
from experiments.smaller.config import SmallerConfig
from experiments.smaller.page import write_smaller
from experiments.smaller.sizes import LOWEST_SHARE, halve_sizes
from rankadaptor.pipeline.design import allocate_by_weights
from rankadaptor.search import Search
from rankadaptor.search.front import Front, draw_sizes, find_front

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

SHARES = (0.75, 0.5, 0.25)
"""Shares of the budget at which uniform shapes and random ones are measured first."""
GENERATIONS = 50
CAUTION = 0.5  # standard deviations taken off a prediction when the front is drawn


def find_smaller(config: SmallerConfig) -> list[dict[str, Any]]:
    """Find, per setting, the smallest searched adapter and the smallest uniform one that are not worse.

    Trials of all sizes teach the predictor; its Pareto front gives the best allocation of each size; full
    recoveries on fresh seeds, halving the interval of sizes, decide which of them are not worse than uniform.
    Those that are not are recovered once more on seeds that had no part in choosing them.

    Returns:
        The rows of `halve_sizes` with `job` and `like_uniform`. The method is `searched`; `uniform`, at a
        smaller rank; `started`, the same with the start and rate that suit uniform ranks of half the budget
        best; or `searched_started`, the searched ranks with that start and rate.
    """
    rows: list[dict[str, Any]] = []
    for run in load_settings(config):
        check_seeds(run, config, trials=config.trials)
        run = run.model_copy(update={"space": _widen(run.space, config.like_uniform)})
        with open_arena(run, config.folder / run.name, workers=config.workers) as arena:
            corpus = find_corpus_digest(config.corpus) or "none"
            learned = arena.folder.complete(
                f"learn-{config.trials}x{config.batch}-{corpus[:8]}", functools.partial(_learn, arena, config)
            )
            front = [arena.space.allocation(tuple(entry["values"])) for entry in learned["front"]]
            found = [
                halve_sizes(arena, config, "searched", front, cost=learned["tokens"]),
                halve_sizes(arena, config, "uniform", list_uniforms(arena.space), cost=0),
                *_halve_started(arena, config, front, cost=learned["tokens"]),
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
    """Tell whether a row of this job was found with other trials, seeds or another uniform than asked."""
    asked = (config.trials, config.like_uniform, config.final.seeds)
    given = (row.get("trials"), row.get("like_uniform"), row.get("final_seeds"))
    return row.get("job") == config.name and given != asked


def list_uniforms(space: Space) -> list[Allocation]:
    """Return the allocations with one rank everywhere, as far as every menu has it, cheapest first."""
    free = [slot for slot in space.slots if slot.pinned is None]
    common = set.intersection(*(set(slot.options) for slot in free)) - {0}
    rows = [
        tuple(slot.pinned if slot.pinned is not None else rank for slot in space.slots)
        for rank in sorted(common)
    ]
    return [space.allocation(values) for values in rows if space.contains(values)]


def _widen(space: Any, rank: int) -> Any:
    """Return a space section with another budget; its menu gets the ranks that smaller adapters need."""
    ranks = space.ranks and tuple(sorted({*space.ranks, *range(rank + 1)}))
    return space.model_copy(
        update={"like_uniform": rank, "parameters": None, "megabytes": None, "ranks": ranks}
    )


def _learn(arena: Arena, config: SmallerConfig) -> dict[str, Any]:
    """Measure trials of all sizes, those near the front again and again, and return the last front."""
    space, predictor = arena.space, learn_without(arena, config.corpus, name="meta")
    search = Search(space, predictor, seed=arena.seed)
    search.tell(arena.measure(_design_sizes(space, seed=arena.seed), label="sizes"))
    while len(search.records) < config.trials:
        front = _find_front(search, seed=arena.seed + len(search.records))
        measured = {record.values for record in search.records}
        fresh = [each for each in front.allocations if each.values not in measured and is_usable(each)]
        if not fresh:
            break
        count = min(config.batch, config.trials - len(search.records), len(fresh))
        places = np.random.default_rng([arena.seed, len(search.records)]).permutation(len(fresh))[:count]
        batch = [fresh[int(place)] for place in places]
        search.tell(arena.measure(batch, label=f"front {len(search.records)}/{config.trials}"))
    front = _find_front(search, seed=arena.seed)
    return {
        "front": [entry for entry in front.to_json() if is_usable(space.allocation(tuple(entry["values"])))],
        "tokens": arena.count_tokens(search.records),
        "trials": len(search.records),
    }


def is_usable(allocation: Allocation) -> bool:
    """Tell whether an allocation is large enough to be worth a fine-tune."""
    return allocation.cost() >= LOWEST_SHARE * allocation.space.bounds[0]


def _find_front(search: Search, *, seed: int) -> Front:
    usable = dict.fromkeys(record.values for record in search.records if record.gain is not None)
    start = [search.space.allocation(values) for values in usable]
    return find_front(
        search.space, search.conditioned, seed=seed, generations=GENERATIONS, caution=CAUTION, start=start
    )


def _design_sizes(space: Space, *, seed: int) -> list[Allocation]:
    """Return smaller uniforms, random allocations of all sizes, and one that uses the budget up."""
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


def _halve_started(
    arena: Arena, config: SmallerConfig, front: list[Allocation], *, cost: int
) -> list[dict[str, Any]]:
    """Find the smallest uniform and the smallest searched adapter with a start and rate of their own.

    Both get the start and rate that suit a uniform of half the budget; as many trials as the search has go
    into these. No rows where none of them could be measured.
    """
    ladder, half = list_uniforms(arena.space), 0.5 * arena.space.bounds[0]
    middle = min(ladder, key=lambda each: abs(each.cost() - half))
    begun = tune_start(arena, middle, trials=config.trials)
    if all(loss is None for loss in begun.details["recipes"].values()):
        return []
    given = {"initialisation": begun.initialisation, "learning_rate": begun.learning_rate}
    rows = [
        halve_sizes(arena, config, "started", ladder, cost=begun.tokens, begun=begun),
        halve_sizes(arena, config, "searched_started", front, cost=cost + begun.tokens, begun=begun),
    ]
    return [{**row, **given} for row in rows]
