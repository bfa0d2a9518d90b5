"""The smallest adapter whose recovered loss is not worse than uniform's."""

from __future__ import annotations

import dataclasses
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.comparison import Judgement
from rankadaptor.config.comparison import FinalSection, SmallerConfig
from rankadaptor.pipeline.compare.arena import Arena, open_arena
from rankadaptor.pipeline.compare.choice import Choice
from rankadaptor.pipeline.compare.contest import load_settings, merge_rows
from rankadaptor.pipeline.compare.judgement import judge_pairs, recover_choices
from rankadaptor.pipeline.compare.learned import learn_without
from rankadaptor.pipeline.compare.started import tune_start
from rankadaptor.pipeline.design import allocate_by_weights
from rankadaptor.report.smaller import write_smaller
from rankadaptor.runtime import find_commit
from rankadaptor.search import Search
from rankadaptor.search.front import Front, draw_sizes, find_front
from rankadaptor.space.ranks import count_parameters

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

SHARES = (0.75, 0.5, 0.25)
"""Shares of the budget at which uniform shapes and random ones are measured first."""
LOWEST_SHARE = 0.1
FIRST_SHARE = 0.6
GENERATIONS = 50
CAUTION = 0.5  # standard deviations taken off a prediction when the front is drawn
MARGIN_SHARE = 0.02  # of what uniform wins back, where no margin is given
CONFIRMED = 100  # the winner's own seeds start this far above those of the attempts


def find_smaller(config: SmallerConfig) -> list[dict[str, Any]]:
    """Find, per setting, the smallest searched adapter and the smallest uniform one that are not worse.

    Trials of all sizes teach the predictor; its Pareto front gives the best allocation of each size; full
    recoveries on fresh seeds, halving the interval of sizes, decide which of them are not worse than uniform.
    The smallest that is not is measured once more on seeds that had no part in choosing it.

    Returns:
        Rows `job, setting, method, parameters, parameters_uniform, share, outcome, gain, gain_low,
        gain_high` and more. The method is `searched`; `uniform`, at a smaller rank; or `started`, the same
        with the start and rate that suit uniform ranks of half the budget best. `share` is 1 where the fresh
        seeds find the smaller adapter worse; `cost_tokens` counts trials and attempts.
    """
    rows: list[dict[str, Any]] = []
    for run in load_settings(config):
        run = run.model_copy(update={"space": _widen(run.space, config.like_uniform)})
        with open_arena(run, config.folder / run.name, workers=config.workers) as arena:
            learned = arena.folder.complete(
                f"learn-{config.trials}x{config.batch}", functools.partial(_learn, arena, config)
            )
            front = [arena.space.allocation(tuple(entry["values"])) for entry in learned["front"]]
            found = [
                _halve_sizes(arena, config, "searched", front, cost=learned["tokens"]),
                _halve_sizes(arena, config, "uniform", list_uniforms(arena.space), cost=0),
                *_halve_started(arena, config),
            ]
        found = [{"job": config.name, "like_uniform": config.like_uniform, **row} for row in found]
        rows += found
        everything = merge_rows(Path(config.results), found)
        if config.document is not None:
            write_smaller(everything, file=Path(config.document))
        for row in found:
            held = "not worse" if row["not_worse"] else "worse on fresh seeds"
            logger.info(
                "%s, %s: %.0f %% of uniform, %s", row["setting"], row["method"], 100 * row["share"], held
            )
    return rows


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
    return allocation.cost >= LOWEST_SHARE * allocation.space.budget


def _find_front(search: Search, *, seed: int) -> Front:
    usable = dict.fromkeys(record.values for record in search.records if record.gain is not None)
    start = [search.space.allocation(values) for values in usable]
    return find_front(
        search.space, search.conditioned, seed=seed, generations=GENERATIONS, caution=CAUTION, start=start
    )


def _design_sizes(space: Space, *, seed: int) -> list[Allocation]:
    """Return smaller uniforms, random allocations of all sizes, and one that uses the budget up."""
    uniforms = [each for each in list_uniforms(space) if is_usable(each) and not each.is_uniform]
    wanted = [share * space.budget for share in SHARES]
    designed = [min(uniforms, key=lambda each: abs(each.cost - cost)) for cost in wanted] if uniforms else []
    drawn = [space.allocation(row.tolist()) for row in draw_sizes(space, 16, seed=seed)]
    depth = np.array([slot.attribute("depth") for slot in space.slots])
    designed += [each for each in drawn if is_usable(each) and not each.is_uniform][:5]
    designed += [allocate_by_weights(space, 1.3 - 0.6 * depth)]
    return [each for each in dict.fromkeys(designed) if not each.is_uniform]


def _halve_started(arena: Arena, config: SmallerConfig) -> list[dict[str, Any]]:
    """Find the smallest uniform adapter with a start and rate of its own; the trials go into these.

    No row where none of them could be measured.
    """
    ladder, half = list_uniforms(arena.space), 0.5 * arena.space.budget
    middle = min(ladder, key=lambda each: abs(each.cost - half))
    begun = tune_start(arena, middle, trials=config.trials)
    if all(loss is None for loss in begun.details["recipes"].values()):
        return []
    row = _halve_sizes(arena, config, "started", ladder, cost=begun.tokens, begun=begun)
    return [{**row, "initialisation": begun.initialisation, "learning_rate": begun.learning_rate}]


def _halve_sizes(
    arena: Arena,
    config: SmallerConfig,
    method: str,
    ladder: list[Allocation],
    *,
    cost: int,
    begun: Choice | None = None,
) -> dict[str, Any]:
    """Find the smallest of a ladder of sizes that is not worse, by halving the interval of sizes.

    The candidates are recovered under the start and rate of `begun`, uniform under the setting's own.
    """
    space, steps = arena.space, []
    low, high, best = LOWEST_SHARE, 1.0, space.uniform()
    share = FIRST_SHARE
    for _ in range(config.attempts):
        candidate = max(
            (each for each in ladder if each.cost <= share * space.budget),
            key=lambda each: each.cost,
            default=None,
        )
        if candidate is None or candidate.cost <= low * space.budget:
            low = share
        else:
            judged, margin, trained = _judge(arena, candidate, config.final, given=config.margin, begun=begun)
            cost += trained
            accepted = is_not_worse(judged, margin=margin)
            steps.append(_describe(space, candidate, judged, accepted=accepted))
            if accepted:
                high, best = candidate.cost / space.budget, candidate
            else:
                low = share
        share = (low + high) / 2
    fresh = config.final.model_copy(update={"first_seed": config.final.first_seed + CONFIRMED})
    judged, margin, _ = _judge(arena, best, fresh, given=config.margin, begun=begun)
    own = begun is None or (begun.learning_rate is None and begun.initialisation is None)
    held = (best.is_uniform and own) or is_not_worse(judged, margin=margin)
    parameters, whole = count_parameters(space, best.values), count_parameters(space, space.reference)
    return {
        "setting": arena.config.name,
        "method": method,
        "parameters": parameters,
        "parameters_uniform": whole,
        "share": parameters / whole if held else 1.0,  # what fresh seeds take back is no saving
        "share_found": parameters / whole,
        "outcome": judged.outcome,
        "not_worse": held,
        "gain": judged.gain,
        "gain_low": judged.low,
        "gain_high": judged.high,
        "seeds": judged.count,
        "margin": margin,
        "trials": config.trials,
        "steps": arena.source.recipe.steps,
        "cost_tokens": cost,
        "values": list(best.values),
        "attempts": steps,
        "commit": find_commit(),
    }


def is_not_worse(judged: Judgement, *, margin: float) -> bool:
    """Tell whether paired gains establish that an allocation is worse by no more than a margin.

    That no difference was found would not do: the noisier the runs, the more would pass.
    """
    return judged.low is not None and not judged.reason and judged.low >= -margin


def _judge(
    arena: Arena,
    allocation: Allocation,
    final: FinalSection,
    *,
    given: float | None,
    begun: Choice | None,
) -> tuple[Judgement, float, int]:
    """Recover an allocation, under a start and rate that may be its own, and uniform on fresh seeds.

    Returns:
        The judgement, the margin it is held to, and the tokens that the allocation was trained on.
    """
    choice = dataclasses.replace(begun or Choice(()), values=allocation.values)
    records: dict[str, list[Record]] = recover_choices(arena, {"candidate": choice}, final)
    judged = judge_pairs(records["candidate"], records["uniform"], confidence=final.confidence)[1]
    losses = [record.loss for record in records["uniform"] if record.loss is not None]
    regained = arena.losses["pruned"] - float(np.mean(losses)) if losses else 0.0
    margin = given if given is not None else MARGIN_SHARE * max(regained, 0.0)
    return judged, margin, sum(record.tokens for record in records["candidate"])


def _describe(space: Space, allocation: Allocation, judged: Judgement, *, accepted: bool) -> dict[str, Any]:
    return {
        "share": allocation.cost / space.budget,
        "parameters": count_parameters(space, allocation.values),
        "gain": judged.gain,
        "gain_low": judged.low,
        "gain_high": judged.high,
        "accepted": accepted,
        "values": list(allocation.values),
    }
