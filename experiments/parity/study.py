"""The paper's claim on a given model, with repeats that separate its gain from noise.

The paper's search [RankAdaptor]_: one rank per block from 2, 4 … 16, blocks at both ends unpruned and pinned,
a sum of ranks as the budget, a five-layer network on the rank vector, and the best measured allocation as the
result. Here each search is repeated on other seeds, its winner is recovered again on fresh seeds, and the
standard deviation of uniform runs gives the noise of a single unpaired run.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.choice import Choice
from experiments.compare.config import ComparisonConfig
from experiments.compare.contest import check_seeds, choose, merge_rows
from experiments.compare.judgement import find_extra, judge_pairs, recover_choices
from experiments.compare.prepared_setting import PreparedSetting, prepare_setting
from experiments.parity.config import ParityConfig
from experiments.parity.page import write_parity
from rankadaptor.components.adapter import count_parameters
from rankadaptor.config import RunConfig, load_run
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.pipeline.trials import Job
from rankadaptor.predictor import make_predictor
from rankadaptor.runtime import find_commit
from rankadaptor.search import Search, draw_random

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

PARITY_KEYS = ("setting", "ratio", "method", "repeat")


def check_claim(config: ParityConfig) -> list[dict[str, Any]]:
    """Search as the paper does at every ratio, repeat it, and judge every winner on fresh seeds.

    Returns:
        Rows `setting, ratio, method, repeat` with the claimed gain (the winner's own single run) and the
        confirmed one, in nats per token and as shares of uniform's loss, perplexity and recovery.
    """
    rows: list[dict[str, Any]] = []
    pairs = [(path, ratio) for path in config.settings for ratio in config.ratios]
    runs = [_load_pair(config, path, ratio) for path, ratio in pairs]  # all, before anything is measured
    for (_, ratio), (papers, defaults) in zip(pairs, runs, strict=True):
        for run in (papers, defaults):
            check_seeds(run, config, trials=max(config.trials + 1, 6), searches=config.repeats)
        found = _check_ratio(config, papers, ratio)
        if config.ours:
            found += _check_two_stages(config, defaults, ratio)
        rows += found
        merge_rows(
            Path(config.results),
            found,
            keys=PARITY_KEYS,
            stale=functools.partial(is_stale, found=found),
            write=None
            if config.document is None
            else functools.partial(write_parity, file=Path(config.document)),
        )
    return rows


def is_stale(row: Mapping[str, Any], *, found: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a row is of a model and a method that were searched anew, also with fewer searches."""
    anew = {(each["setting"], each["ratio"], each["method"]) for each in found}
    return (row["setting"], row["ratio"], row["method"]) in anew


def _load_pair(config: ParityConfig, path: str, ratio: float) -> tuple[RunConfig, RunConfig]:
    """Load a setting with the paper's space, and with the space of its run file."""
    plain = [*config.overrides, *_pruning(config, ratio), f"compute.workers={config.workers}"]
    plain += [f"search.steps={config.steps}"] if config.steps else []
    return load_run(path, _overrides(config, ratio)), load_run(path, plain)


def _pruning(config: ParityConfig, ratio: float) -> tuple[str, ...]:
    return (
        f"prune.ratio={ratio}",
        "prune.scope=local",
        "prune.targets=[heads, channels]",
        f"prune.skip_first={config.skip_first}",
        f"prune.skip_last={config.skip_last}",
    )


def _overrides(config: ParityConfig, ratio: float) -> list[str]:
    return [
        *config.overrides,
        *_pruning(config, ratio),
        "space.slots=block",
        f"space.ranks={list(config.ranks)}",
        f"space.like_uniform={config.uniform}",
        "space.parameters=null",
        "space.megabytes=null",
        "space.mode=rank_sum",
        f"compute.workers={config.workers}",
    ]


def _pin_ends(run: RunConfig, config: ParityConfig) -> RunConfig:
    """Pin the unpruned blocks at the uniform rank."""
    from rankadaptor.planning.shape import read_shape

    blocks = len(read_shape(run.model).blocks)
    ends = [*range(config.skip_first), *range(blocks - config.skip_last, blocks)]
    pinned = dict.fromkeys(ends, config.uniform)
    return run.model_copy(update={"space": run.space.model_copy(update={"pinned": pinned or None})})


def _check_ratio(config: ParityConfig, run: RunConfig, ratio: float) -> list[dict[str, Any]]:
    run = _pin_ends(run, config)
    rows = []
    with prepare_setting(run, config.folder / f"{run.name}-{ratio:g}", workers=config.workers) as prepared:
        for repeat in range(config.repeats):
            found = prepared.folder.complete(
                f"paper-{config.trials}-{config.initial}-{config.steps or prepared.steps}-{repeat}",
                functools.partial(_search_like_paper, prepared, config, repeat),
            )
            rows.append(_judge(prepared, config, found, method="paper", repeat=repeat, ratio=ratio))
    return rows


def _search_like_paper(prepared: PreparedSetting, config: ParityConfig, repeat: int) -> dict[str, Any]:
    """Search once, under one seed for all random draws, and take the best single run."""
    seed, steps = prepared.seed + repeat, config.steps or prepared.steps
    predictor = make_predictor("perceptron", seed=seed)
    search = Search(prepared.space, predictor, seed=seed, proposal="greedy", initial=0)
    drawn = draw_random(prepared.space, config.initial, seed=seed)[: config.trials]

    def measure(batch: Sequence[Allocation]) -> list[Record]:
        jobs = [Job(allocation, seed, steps) for allocation in batch]
        return prepared.pool.measure_all(jobs, label=f"paper {len(search.records)}/{config.trials}")

    if drawn:
        search.tell(measure(drawn))
        search.run_batches(measure, evaluations=config.trials)
    usable = [record for record in search.records if record.gain is not None]
    if not usable:
        raise InputError(
            f"{prepared.config.name}: no allocation could be measured. Allow more ranks, pin fewer blocks "
            "(skip_first, skip_last), or lower the learning rate."
        )
    best = max(usable, key=lambda record: record.gain or -math.inf)
    return {
        "values": list(best.values),
        "claimed_gain": best.gain,
        "claimed_loss": best.loss,
        "random_gain": _average_gain(search.records[: len(drawn)]),
        "trial_steps": steps,
        "trials": len(search.records),
        "tokens": prepared.count_tokens(search.records),
    }


def _average_gain(records: Sequence[Record]) -> float | None:
    gains = [record.gain for record in records if record.gain is not None]
    return float(np.mean(gains)) if gains else None


def _check_two_stages(config: ParityConfig, run: RunConfig, ratio: float) -> list[dict[str, Any]]:
    """Search the same pruned model in the space of its run file, in two stages."""
    given = ComparisonConfig(
        name=config.name,
        settings=config.settings,
        methods=("ours",),
        trials=max(config.trials + 1, 6),
        corpus=config.corpus,
    )
    with prepare_setting(
        run, config.folder / f"{run.name}-{ratio:g}-ours", workers=config.workers
    ) as prepared:
        choice = choose(prepared, given, "ours")
        if choice is None:
            return []
        found = {
            "values": list(choice.values),
            "claimed_gain": choice.details.get("expected_gain"),
            "trials": given.trials,
            "trial_steps": prepared.steps,
            "tokens": choice.tokens,
        }
        return [_judge(prepared, config, found, method="ours", repeat=0, ratio=ratio)]


def _judge(
    prepared: PreparedSetting,
    config: ParityConfig,
    found: dict[str, Any],
    *,
    method: str,
    repeat: int,
    ratio: float,
) -> dict[str, Any]:
    records: dict[str, list[Record]] = recover_choices(
        prepared, {method: Choice(tuple(found["values"]))}, config.final
    )
    uniform = [record.loss for record in records["uniform"] if record.loss is not None]
    gains, judged = judge_pairs(records[method], records["uniform"], confidence=config.final.confidence)
    if not uniform:
        raise TrainingError(
            f"{prepared.config.name}: uniform could not be recovered under any seed, so nothing can be "
            "compared. Lower recipe.learning_rate.",
            step=0,
        )
    loss, pruned = float(np.mean(uniform)), prepared.losses["pruned"]
    return {
        "setting": prepared.config.name,
        "ratio": ratio,
        "method": method,
        "repeat": repeat,
        "trials": found["trials"],
        "trial_steps": found["trial_steps"],
        "cost_tokens": found["tokens"],
        "claimed_gain": found["claimed_gain"],
        "random_gain": found.get("random_gain"),
        "gain": judged.gain,
        "gain_low": judged.low,
        "gain_high": judged.high,
        "outcome": judged.outcome,
        "seeds": judged.count,
        "gains": gains,
        "loss_uniform": loss,
        "loss_pruned": pruned,
        "loss_dense": prepared.losses.get("dense"),
        "claimed_percent": _to_percent(found["claimed_gain"]),
        "percent": _to_percent(judged.gain),
        "percent_low": _to_percent(judged.low),
        "percent_high": _to_percent(judged.high),
        "extra_regained": find_extra(judged.gain, records["uniform"], pruned),
        # Noise of the difference between two unpaired runs.
        "noise_unpaired": float(np.std(uniform, ddof=1) * math.sqrt(2)) if len(uniform) > 1 else None,
        "noise_paired": judged.noise,
        "parameters": count_parameters(prepared.space, found["values"]),
        "parameters_uniform": count_parameters(prepared.space, prepared.space.reference().values),
        "slots": prepared.space.n_slots,
        "paper": {
            "ranks": list(config.ranks),
            "uniform": config.uniform,
            "skip_first": config.skip_first,
            "skip_last": config.skip_last,
        },
        "values": found["values"],
        "steps": prepared.source.recipe.steps,
        "commit": find_commit(),
    }


def _to_percent(gain: float | None) -> float | None:
    """Return by how many per cent the perplexity is lower than uniform's."""
    return None if gain is None else 100 * (1 - math.exp(-gain))
