"""Filling a corpus: many allocations of one setting, measured side by side and kept for meta-training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Corpus, Setting
from rankadaptor.pipeline.preparation import load_space, pick_compute, prepare_model
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.trials import Job, TrialPool, TrialSource
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.search import draw_random, linear_in_depth
from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

DEPTH_SLOPES = (-1.0, -0.5, 0.5, 1.0)


def collect_records(config: RunConfig, *, output: Path | None = None, fresh: bool = False) -> int:
    """Measure the allocations that `config.collect` asks for and append them to its corpus.

    The same command continues a collection that was cut off; nothing is measured twice.

    Returns:
        The number of records of this setting that the corpus holds afterwards.
    """
    given = config.collect
    compute = pick_compute(config)
    with open_run(output or Path(config.output), config, fresh=fresh) as folder:
        prepared = folder.complete("prepare", lambda: prepare_model(folder, config, compute=compute))
        space = load_space(folder, config)
        source, _ = tune_setting(folder, config, space, setting=config.name, compute=compute)
        corpus = Corpus.create(given.corpus)
        corpus.add_setting(_describe_setting(config, source, prepared))
        jobs = [
            Job(allocation, seed, steps)
            for steps in given.lengths or (config.search.steps,)
            for seed in range(config.seed, config.seed + given.seeds)
            for allocation in design_allocations(space, given.allocations, seed=config.seed)
        ]
        with TrialPool(source, workers=config.compute.workers) as pool:
            pool.measure_all(jobs, label="collect", on_record=corpus.append)
            for (
                record
            ) in pool.records.records:  # what an interrupted collection measured but had not passed on
                corpus.append(record)
    return len(corpus.records(config.name))


def design_allocations(space: Space, count: int, *, seed: int) -> list[Allocation]:
    """Return uniform and `count` distinct others: tilts in depth first, then a spread of random ones."""
    chosen = dict.fromkeys(
        [space.uniform(), *(linear_in_depth(space, slope=slope) for slope in DEPTH_SLOPES)]
    )
    chosen.update(dict.fromkeys(draw_random(space, count=2 * count, seed=seed)))
    return list(chosen)[: count + 1]


def _describe_setting(config: RunConfig, source: TrialSource, prepared: dict[str, Any]) -> Setting:
    losses, digests = prepared["losses"], prepared["digests"]
    pruning = {key: prepared["pruning"][key] for key in ("ratio", "achieved_ratio", "settings", "blocks")}
    return Setting(
        name=config.name,
        model={"name": config.model, "digest": digests["model"]},
        pruning=pruning,
        data={
            "train": config.data.train,
            "train_rows": config.data.train_rows,
            "held_out": config.data.held_out or config.data.train,
            "held_out_rows": config.data.held_out_rows,
            "seed": config.seed,
            "train_digest": digests["train"],
            "held_out_digest": digests["held_out"],
        },
        recipe=source.recipe.to_json(),
        space=source.space.to_json(),
        held_out=config.collect.held_out,
        pruned_loss=losses["pruned"],
        dense_loss=losses.get("dense"),
    )
