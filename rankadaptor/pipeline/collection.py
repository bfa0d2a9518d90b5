"""Collecting a corpus: many allocations of one setting, measured in parallel for meta-training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Corpus, Record, RecordFile, Setting
from rankadaptor.corpus.studies import add_to_study
from rankadaptor.pipeline.design import choose_evenly, design_allocations
from rankadaptor.pipeline.execution import count_trial_workers
from rankadaptor.pipeline.preparation import complete_preparation, load_space, pick_compute
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.planning import check_run
from rankadaptor.space import Space

logger = logging.getLogger(__name__)


def collect_records(
    config: RunConfig, *, output: Path | None = None, fresh: bool = False, command: str = ""
) -> int:
    """Measure the trials of `config.collect` and append the records to its corpus.

    The same command continues an interrupted collection; nothing is measured twice.

    Args:
        config: The run.
        output: Its folder; the run's own by default.
        fresh: Delete the files of an earlier collection in that folder; the corpus keeps its records.
        command: Command that measures these records again; stored in the setting.

    Returns:
        The number of records of this setting that the corpus holds afterwards.
    """
    given = config.collect
    check_run(config, output=output, fresh=fresh, searches=False)
    compute = pick_compute(config)
    with open_run(output or Path(config.output), config, fresh=fresh) as folder:
        prepared = complete_preparation(folder, config, compute=compute)
        space = load_space(folder, config)
        source, tuned = tune_setting(folder, config, space, setting=config.name, compute=compute)
        corpus = Corpus.create(given.corpus)
        corpus.add_setting(_describe_setting(config, source, prepared, command=command))
        with TrialPool(source, workers=count_trial_workers(config)) as pool:
            for record in pool.records.records:  # measured by an interrupted collection, not passed on yet
                corpus.append(record)
            jobs = list_jobs(config, space)
            measured = pool.measure_all(jobs, label="collect", on_record=corpus.append)
            best = list_best(config, space, measured)
            pool.measure_all(best, label="repeat the best", on_record=corpus.append)
            curve = [pool.measure(space.reference(), seed=config.seed, steps=steps) for steps in given.curve]
        for record in RecordFile(source.records).records:
            corpus.append(record)
        add_to_study(corpus.folder, config.name, list_uniform_runs(tuned, curve, seed=config.seed))
    return len(corpus.records(config.name))


def list_jobs(config: RunConfig, space: Space) -> list[Job]:
    """List the trials of a collection: every allocation once, then repeats, then other lengths."""
    given, steps = config.collect, config.search.steps
    designed = design_allocations(space, given.allocations, seed=config.seed)
    jobs = [Job(allocation, config.seed, steps) for allocation in designed]
    if given.repeat is not None:
        jobs += [
            Job(allocation, config.seed + offset, steps)
            for offset in range(1, given.repeat.seeds)
            for allocation in choose_evenly(designed, given.repeat.allocations)
        ]
    if given.lengths is not None:
        jobs += [
            Job(allocation, config.seed, other)
            for other in given.lengths.steps
            for allocation in choose_evenly(designed, given.lengths.allocations)
        ]
    return jobs


def list_best(config: RunConfig, space: Space, measured: Sequence[Record]) -> list[Job]:
    """List the repeats of the allocations that gained most under the first seed, at the usual length."""
    repeat = config.collect.repeat
    if repeat is None:
        return []
    gains = {
        record.values: record.gain
        for record in measured
        if record.seed == config.seed and record.steps == config.search.steps and record.gain is not None
    }
    gains.pop(space.reference().values, None)
    best = sorted(gains, key=lambda values: -gains[values])[: repeat.best]
    return [
        Job(space.allocation(values), config.seed + offset, config.search.steps)
        for values in best
        for offset in range(1, repeat.seeds)
    ]


def list_uniform_runs(
    tuned: Mapping[str, Any], curve: Sequence[Record], *, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """List the trials of uniform at other learning rates and lengths, as a study stores them."""
    return {
        "learning_rates": [
            {
                "learning_rate": trial["learning_rate"],
                "values": trial["values"],
                "seed": seed,
                "loss": trial["loss"],
            }
            for trial in tuned["trials"]
        ],
        "curve": [
            {"steps": record.steps, "tokens": record.tokens, "seed": record.seed, "loss": record.loss}
            for record in sorted(curve, key=lambda record: record.steps)
        ],
    }


def _describe_setting(
    config: RunConfig, source: TrialSource, prepared: dict[str, Any], *, command: str
) -> Setting:
    losses, digests = prepared["losses"], prepared["digests"]
    pruning = {key: prepared["pruning"][key] for key in ("ratio", "achieved_ratio", "settings", "blocks")}
    return Setting(
        name=config.name,
        model={"name": config.get_written("model"), "digest": digests["model"]},
        pruning=pruning,
        data={
            "train": config.get_written("data.train"),
            "train_rows": config.data.train_rows,
            "held_out": config.get_written("data.held_out") or config.get_written("data.train"),
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
        command=command,
    )
