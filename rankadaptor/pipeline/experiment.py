"""The main job: prune, tune the recipe, search ranks, confirm on fresh seeds, recover, evaluate, report.

Every step writes one JSON file to the run's folder, and every trial one line to its record file. The same
command continues an interrupted run: finished steps are read, and the search is replayed from its records.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import compute_first_digest, describe_budget, linear_in_depth
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.defaults import CONFIRMATION
from rankadaptor.evaluation.definitions import check_benchmarks
from rankadaptor.pipeline import account
from rankadaptor.pipeline.choosing import choose_for_recovery
from rankadaptor.pipeline.execution import count_trial_workers
from rankadaptor.pipeline.finals import check_adapters, evaluate_models, recover_all
from rankadaptor.pipeline.forecast import foresee
from rankadaptor.pipeline.guide import choose_predictor
from rankadaptor.pipeline.measurement import allocate_by_score, is_allocated_by_score, open_measurement
from rankadaptor.pipeline.preparation import complete_preparation, describe_compute, load_space, pick_compute
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.running_job import open_job
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.planning import check_run
from rankadaptor.planning.folder_state import is_done, read_folder
from rankadaptor.progress import Progress, look_ahead
from rankadaptor.search import Search, SearchResult, check_choice, draw_random, find_front
from rankadaptor.search.proposals import describe_rule
from rankadaptor.space import Allocation, Space
from rankadaptor.tracking import Tracker
from rankadaptor.verdict import Verdict, confirm

logger = logging.getLogger(__name__)

DEPTH_SLOPE = 0.5  # the baseline's ranks grow from half to one and a half times uniform's, as in [PRILoRA]_


def run_experiment(config: RunConfig, *, output: Path | None = None, fresh: bool = False) -> dict[str, Any]:
    """Run, or continue, the whole job that a run file describes.

    Args:
        config: The run.
        output: Folder to write to, `config.output` by default.
        fresh: Delete the files of an earlier run in the folder.

    Returns:
        The result, as written to `result.json` in the folder (schema in docs/concepts.md).

    Raises:
        InputError: If the configuration does not fit the model or the folder holds another run.
        StorageError: If something could not be written; earlier measurements are kept.
    """
    _check(config, output=output, fresh=fresh)
    with (
        open_job(config, output=output, fresh=fresh) as job,
        look_ahead(foresee(config, job.folder)),
    ):
        document = job.write_result(_run_steps(job.folder, config, job.tracker))
        from rankadaptor.pipeline.publication import publish_result  # matplotlib: not for worker processes

        publish_result(job, document)
    return document


def _check(config: RunConfig, *, output: Path | None, fresh: bool) -> None:
    """Check what would fail later, before anything is logged or trained."""
    check_run(config, output=output, fresh=fresh, adapt=True)
    folder = output or Path(config.output)
    if fresh or not is_done(folder, read_folder(folder, config), "evaluate"):
        check_benchmarks(config.evaluate.benchmarks)


def run_search(config: RunConfig, *, output: Path | None = None, fresh: bool = False) -> dict[str, Any]:
    """Run, or continue, the job up to the verdict and stop there.

    `run_experiment` continues from there. Between the two, `recover_shared` may do the full fine-tunes on
    several devices.

    Returns:
        The verdict's step.

    Raises:
        InputError: As of `run_experiment`.
        StorageError: As of `run_experiment`.
    """
    _check(config, output=output, fresh=fresh)
    with (
        open_job(config, output=output, fresh=fresh) as job,
        look_ahead(foresee(config, job.folder)),
    ):
        return _find_allocation(job.folder, config, job.tracker).verdict


@dataclass(frozen=True)
class _Found:
    """Results of the steps up to the verdict."""

    source: TrialSource
    prepared: dict[str, Any]
    tuned: dict[str, Any]
    searched: dict[str, Any]
    verdict: dict[str, Any]


def _find_allocation(folder: RunFolder, config: RunConfig, tracker: Tracker) -> _Found:
    compute = pick_compute(config)
    account.log_settings(tracker, config, compute=compute)
    prepared = complete_preparation(folder, config, compute=compute)
    losses = prepared["losses"]
    tracker.log_metrics({f"loss_{name}": loss for name, loss in losses.items()})

    space = load_space(folder, config)
    check_choice(space)  # before anything is trained
    source, tuned = tune_setting(folder, config, space, setting=folder.setting, compute=compute)
    account.log_tuning(tracker, source, tuned, config=config)

    with TrialPool(source, workers=count_trial_workers(config)) as pool:
        searched = folder.complete("search", lambda: _search(folder, config, pool, tracker))
        account.log_search(tracker, folder, searched, config=config)
        candidate = space.allocation(tuple(searched["best"]))
        verdict = folder.complete("confirm", lambda: _confirm(config, pool, candidate))
    account.log_verdict(tracker, folder, verdict, config=config)
    return _Found(source, prepared, tuned, searched, verdict)


def name_allocations(config: RunConfig, space: Space, searched: Mapping[str, Any]) -> dict[str, Allocation]:
    """Return the allocations that are fine-tuned in full, by the names of their adapters."""
    candidate = space.allocation(tuple(searched["best"]))
    return {"uniform": space.reference(), "searched": candidate, **_draw_baselines(config, space)}


def _run_steps(folder: RunFolder, config: RunConfig, tracker: Tracker) -> dict[str, Any]:
    found = _find_allocation(folder, config, tracker)
    source, prepared, tuned = found.source, found.prepared, found.tuned
    searched, verdict, space = found.searched, found.verdict, found.source.space
    allocations = name_allocations(config, space, searched)
    trained, chosen = choose_for_recovery(folder, config, source)
    recovered = folder.complete("recover", lambda: recover_all(folder, config, trained, allocations))
    check_adapters(folder, recovered["adapters"])
    account.log_recovery(tracker, recovered["adapters"])
    evaluated = folder.complete("evaluate", lambda: evaluate_models(folder, config, compute=source.compute))
    account.log_benchmarks(tracker, evaluated["benchmarks"])

    seconds = {
        "prepare": prepared["seconds"],
        "tuning": tuned["seconds"],
        "search": searched["seconds"],
        "confirm": verdict["seconds"],
        **({"choose": chosen["seconds"]} if chosen is not None else {}),
        "recover": recovered["seconds"],
        "evaluate": evaluated["seconds"],
    }
    return {
        "compute": describe_compute(prepared, source.compute),
        "pruning": prepared["pruning"],
        "losses": prepared["losses"],
        "digests": prepared["digests"],
        "recipe": source.recipe.to_json(),
        "tuning": tuned["trials"],
        "space": _describe_space(space),
        "search": {key: value for key, value in searched.items() if key not in ("seconds", "tokens")},
        "verdict": {key: value for key, value in verdict.items() if key not in ("seconds", "tokens")},
        **({"choice": chosen} if chosen is not None else {}),
        "recovered": recovered["adapters"],
        "benchmarks": evaluated["benchmarks"],
        "benchmark_differences": evaluated["differences"],
        "cost": {
            "tokens_trained": {
                "tuning": tuned["tokens"],
                "search": searched["tokens"],
                "confirm": verdict["tokens"],
                **({"choose": chosen["tokens"]} if chosen is not None else {}),
                "recover": sum(entry["tokens"] for entry in recovered["adapters"].values()),
            },
            "seconds": seconds,
        },
    }


def _search(folder: RunFolder, config: RunConfig, pool: TrialPool, tracker: Tracker) -> dict[str, Any]:
    if is_allocated_by_score(config):
        return allocate_by_score(folder, config, pool)
    given, space = config.search, pool.source.space
    predictor = choose_predictor(config, folder)
    measurement = open_measurement(folder, config, pool)
    search = Search(
        space,
        predictor,
        seed=config.seed,
        proposal=given.proposal,
        mean_until=given.mean_until,
        candidates=given.candidates,
    )
    rule = describe_rule(
        given.proposal,
        evaluations=given.evaluations,
        batch=given.batch,
        mean_until=given.mean_until,
        trained=predictor.pretrained,
    )
    logger.info("search with predictor %s: %s", predictor.name, rule)
    best_gain: float | None = None

    def follow(records: Sequence[Record]) -> None:
        nonlocal best_gain
        first = len(search.records) - len(records) + 1
        best_gain = account.log_trials(tracker, records, first=first, best=best_gain)

    with Progress("search", given.evaluations, unit="trials", interval=0.0) as progress:
        # The batch is a key of the run and does not depend on the number of workers.
        search.run_batches(
            lambda batch: measurement.measure(batch, progress=progress),
            evaluations=given.evaluations,
            batch=given.batch,
            on_records=follow,
            stop_below_noise=given.stop_below_noise,
        )
    result = search.result()
    best, more = measurement.choose(result)
    return {
        "predictor": predictor.name,
        "proposal": given.proposal,
        "measure": config.measure.kind,
        "evaluations": len(result.records),
        "steps": measurement.steps,
        "best": list(best.values),
        "history": [entry.to_json() for entry in result.history],
        **_find_front(config, space, result),
        "tokens": measurement.tokens + sum(record.tokens for record in result.records),
        **more,
    }


def _find_front(config: RunConfig, space: Space, result: SearchResult) -> dict[str, Any]:
    """Return the predicted front of gain and adapter parameters, if the run asks for it."""
    if "parameters" not in config.search.objectives:
        return {}
    measured = [space.allocation(record.values) for record in result.records]
    front = find_front(space, result.predictor, seed=config.seed, start=measured)
    return {"front": front.to_json()}


def _confirm(config: RunConfig, pool: TrialPool, candidate: Allocation) -> dict[str, Any]:
    given = config.confirm
    jobs = _list_confirming(config, candidate)
    records = pool.measure_all(jobs, label="confirm")
    first, steps = config.seed + CONFIRMATION.first_seed, given.steps or config.search.steps
    verdict: Verdict = confirm(
        lambda allocation, *, seed: pool.measure(allocation, seed=seed, steps=steps),
        candidate,
        seeds=given.seeds,
        first_seed=first,
        confidence=given.confidence,
        searched=[record for record in pool.records.records if record.seed == config.seed],
        quiet=True,  # the pool has logged each trial
    )
    logger.info("%s", verdict.describe(recovery_steps=config.recover.steps))
    # Uniform was trained under the same seeds: it costs the same tokens again.
    return {**verdict.to_json(), "tokens": 2 * sum(record.tokens for record in records)}


def _list_confirming(config: RunConfig, candidate: Allocation) -> list[Job]:
    """List the trials of the candidate for the verdict."""
    given, first = config.confirm, config.seed + CONFIRMATION.first_seed
    steps = given.steps or config.search.steps
    seeds = range(first, first + given.seeds)
    return [] if candidate.is_reference else [Job(candidate, seed, steps) for seed in seeds]


def _draw_baselines(config: RunConfig, space: Space) -> dict[str, Allocation]:
    drawn = {
        # In a very small space, few draws may all be uniform.
        "random": lambda: (draw_random(space, 1, seed=config.seed) or draw_random(space, 16, seed=0))[0],
        "linear_in_depth": lambda: linear_in_depth(space, slope=DEPTH_SLOPE),
    }
    return {name: drawn[name]() for name in config.recover.baselines if name in drawn}


def _describe_space(space: Space) -> dict[str, Any]:
    budget, mode = describe_budget(space)
    return {
        "slots": [
            {"name": slot.name, "kind": slot.kind, "block": slot.block, "modules": list(slot.modules)}
            for slot in space.slots
        ],
        "budget": budget,
        "reference": list(space.reference().values),
        "mode": mode,
        "digest": compute_first_digest(space),  # as in results of earlier versions
    }
