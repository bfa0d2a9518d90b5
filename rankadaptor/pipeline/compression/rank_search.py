"""The rank search of the paper ([RankAdaptor]_) on the chosen configuration, before its full recovery.

Short fine-tunes, guided by the performance model that comes with the package, look for ranks of the same
adapter size as one rank everywhere. Fresh seeds decide whether they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from rankadaptor.corpus import Record, RecordFile
from rankadaptor.defaults import CONFIRMATION
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.recovering import build_rank_space
from rankadaptor.pipeline.compression.run_recipe import find_run_teacher, make_run_recipe
from rankadaptor.pipeline.compression.setting import RECORDS_FILE, Setting
from rankadaptor.pipeline.text_jobs.texts import CALIBRATION, SEARCH, TRAINING
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.storage import SHIPPED
from rankadaptor.search import Search
from rankadaptor.space import Allocation
from rankadaptor.verdict import confirm

logger = logging.getLogger(__name__)

SEARCHED = "searched"
FOLDER = "ranks"
PREDICTOR = "meta"
BATCH = 2
"""Allocations proposed at a time, whatever the number of processes: one for each of two."""


def search_ranks(
    setting: Setting,
    candidate: Candidate,
    *,
    rate: float | None,
    follow: Callable[[Sequence[Record]], None],
) -> dict[str, Any]:
    """Search the ranks of a configuration's recovery and compare the best with uniform ranks of its size.

    Every fine-tune has the length of a finalist's and trains the float weights. It is scored on text that it
    was not trained on and that judges nothing.

    Args:
        setting: The run's inputs.
        candidate: The configuration that will be recovered.
        rate: Learning rate.
        follow: Called with the new records of the search.

    Returns:
        `verdict` (against uniform), `slots` and `searched` (the best ranks by slot), `uniform` (the rank that
        it is compared with), `ranks` (those to recover with; None means uniform), `history`, `tokens`.
    """
    given, seed = setting.config.recover, setting.config.seed
    assert given is not None
    assert rate is not None
    model, _ = candidate.extract(setting)
    space, measure = build_rank_space(model, rank=given.rank), build_measure(setting, model, rate)
    fresh = range(seed + CONFIRMATION.first_seed, seed + CONFIRMATION.first_seed + given.rank_seeds)

    def train(trials: Sequence[tuple[Allocation, int]], what: str) -> None:
        """Train in several processes; what they write is read, not trained again, below."""
        if setting.workers > 1:
            pairs = [(each.values, number) for each, number in trials]
            jobs = [
                Job(f"{what}, seed {pair[1]}", measure_ranks, (candidate, rate, *pair), ()) for pair in pairs
            ]
            do_jobs(setting, jobs, what=f"ranks: {what}")
            measure.records = RecordFile(setting.folder.path / FOLDER / RECORDS_FILE)

    def measure_batch(allocations: Sequence[Allocation]) -> list[Record]:
        train([(each, seed) for each in allocations], "search")
        return [measure(each, seed=seed) for each in allocations]

    train([(space.reference(), number) for number in (seed, *fresh)], "uniform")
    guided = Search(space, make_predictor(PREDICTOR, pretrained=SHIPPED, seed=seed), seed=seed)
    guided.run_batches(measure_batch, evaluations=given.rank_evaluations, batch=BATCH, on_records=follow)
    found = guided.result()
    if not found.best.is_reference:
        train([(found.best, number) for number in fresh], "fresh seeds")
    verdict = confirm(
        measure, found.best, seeds=given.rank_seeds, first_seed=fresh.start, searched=found.records
    )
    logger.info("ranks: %s", verdict)
    assert measure.records is not None
    return {
        "verdict": verdict.to_json(),
        "slots": [slot.name for slot in space.slots],
        "searched": list(found.best.values),
        "uniform": given.rank,
        "ranks": list(verdict.allocation.values) if verdict.outcome == "better" else None,
        "history": [{"gain": record.gain, "status": record.status} for record in found.records],
        "tokens": sum(record.tokens for record in measure.records.records),
    }


def build_measure(setting: Setting, model: Any, rate: float) -> ShortFineTune:
    """Return the short fine-tunes of an extracted model, whose records are in the run's folder."""
    given, texts = setting.config.recover, setting.texts
    assert given is not None
    recipe = make_run_recipe(setting, steps=given.finalist_steps, rate=rate)
    return ShortFineTune.of_sequences(
        model,
        texts[TRAINING],
        held_out=(*texts[SEARCH], *texts[CALIBRATION]),
        recipe=recipe,
        steps=given.finalist_steps,
        seed=setting.config.seed,
        records=RecordFile(setting.folder.path / FOLDER / RECORDS_FILE),
        compute=setting.compute,
        teacher=find_run_teacher(setting, recipe),
    )


def measure_ranks(
    setting: Setting, candidate: Candidate, rate: float, ranks: tuple[int, ...], seed: int
) -> None:
    """Measure one allocation of ranks under one seed, unless its record is there."""
    given = setting.config.recover
    assert given is not None
    model, _ = candidate.extract(setting)
    build_measure(setting, model, rate)(build_rank_space(model, rank=given.rank).allocation(ranks), seed=seed)
