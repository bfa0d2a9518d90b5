"""How a run's search measures its allocations, as `measure.kind` says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rankadaptor.config.measure_section import SCORES
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.files import write_json
from rankadaptor.pipeline.trials import Job, TrialPool, build_measure
from rankadaptor.search import allocate_by_scores, halve

if TYPE_CHECKING:
    from pathlib import Path

    from rankadaptor.config import RunConfig
    from rankadaptor.features import ScoreTable
    from rankadaptor.pipeline.run_folder import RunFolder
    from rankadaptor.progress import Progress
    from rankadaptor.search import SearchResult
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

ELASTIC = "elastic"
SCORES_FILE = "scores.json"


class Measurement(Protocol):
    """Measures the allocations that a search proposes, and chooses the best.

    Attributes:
        steps: Optimiser steps behind each record.
        tokens: Tokens trained that are not in the records of the search.
    """

    steps: int
    tokens: int

    def measure(self, allocations: Sequence[Allocation], *, progress: Progress) -> list[Record]:
        """Return one record per allocation, in order; `progress` counts them."""
        ...

    def choose(self, result: SearchResult) -> tuple[Allocation, dict[str, Any]]:
        """Return the allocation to confirm, and further entries of the result."""
        ...


def open_measurement(folder: RunFolder, config: RunConfig, pool: TrialPool) -> Measurement:
    """Return the measurement that the run asks for; for `elastic` this trains the elastic adapter.

    Raises:
        TrainingError: If the elastic adapter's loss is no longer finite.
    """
    kind = config.measure.kind
    if kind == "elastic":
        return ElasticMeasurement(folder, config, pool)
    return HalvingMeasurement(config, pool) if kind == "successive_halving" else ShortRuns(config, pool)


class ShortRuns:
    """Measures each allocation by a short fine-tune."""

    def __init__(self, config: RunConfig, pool: TrialPool) -> None:
        self.steps, self.tokens = config.search.steps, 0
        self._seed, self._pool = config.seed, pool
        tune = config.recipe.tune
        # At that length the tuning has already trained uniform under the chosen rate, and counted it.
        self._counted = None if tune is None else tune.steps or config.search.steps

    def measure(self, allocations: Sequence[Allocation], *, progress: Progress) -> list[Record]:
        """Measure in parallel, or read from the record file."""
        jobs = [Job(allocation, self._seed, self.steps) for allocation in allocations]
        records = self._pool.measure_all(jobs, label=progress.label, progress=progress)
        self.tokens = self._count_reference(self.steps)
        return records

    def choose(self, result: SearchResult) -> tuple[Allocation, dict[str, Any]]:
        """Choose the allocation with the largest predicted gain."""
        return result.best, {}

    def _count_reference(self, steps: int) -> int:
        """Return the tokens of uniform's run of so many steps, unless they are counted elsewhere."""
        uniform = self._pool.find(Job(self._pool.source.space.reference(), self._seed, steps))
        return uniform.tokens if uniform is not None and steps != self._counted else 0


class HalvingMeasurement(ShortRuns):
    """The search proposes allocations at the first rung; the best of them go through the other rungs."""

    def __init__(self, config: RunConfig, pool: TrialPool) -> None:
        super().__init__(config, pool)
        self._rungs, self._keep = config.measure.list_rungs(config.search.steps), config.measure.keep
        self.steps = self._rungs[0]

    def choose(self, result: SearchResult) -> tuple[Allocation, dict[str, Any]]:
        """Choose the best of the last rung."""
        space = self._pool.source.space
        halving = halve(
            [space.allocation(record.values) for record in result.records],
            self._measure_rung,
            rungs=self._rungs,
            keep=self._keep,
        )
        first = len(halving.rungs[0].records)
        self.tokens = sum(record.tokens for record in halving.records[first:])
        self.tokens += sum(self._count_reference(steps) for steps in self._rungs)
        return halving.best, {"rungs": [rung.to_json() for rung in halving.rungs]}

    def _measure_rung(self, allocations: Sequence[Allocation], steps: int) -> list[Record]:
        jobs = [Job(allocation, self._seed, steps) for allocation in allocations]
        return self._pool.measure_all(jobs, label=f"rung of {steps} steps, {len(jobs)} allocations")


class ElasticMeasurement:
    """Measures slices of one elastic adapter, which is trained first and stored in the run's folder."""

    def __init__(self, folder: RunFolder, config: RunConfig, pool: TrialPool) -> None:
        from rankadaptor.proxies.elastic import DESCRIPTION, ElasticAdapter

        given, kept = config.measure, locate_elastic(folder)
        short = build_measure(pool.source)
        records = RecordFile(folder.path / "elastic.jsonl")
        if (kept / DESCRIPTION).exists():
            self._elastic = ElasticAdapter.load(kept, short, records=records)
        else:
            self._elastic = ElasticAdapter.train(
                short,
                pool.source.space,
                steps=given.steps or config.recover.steps,
                seed=config.seed,
                sandwich=given.sandwich,
                checkpoint=kept / "checkpoint",
                records=records,
            )
            self._elastic.save(kept)
        self.steps, self.tokens = self._elastic.steps, self._elastic.tokens

    def measure(self, allocations: Sequence[Allocation], *, progress: Progress) -> list[Record]:
        """Score the allocations one after the other by forward passes."""
        records = []
        for allocation in allocations:
            records.append(self._elastic.measure(allocation))
            progress.advance(note="failed" if (loss := records[-1].loss) is None else f"loss {loss:.4f}")
        return records

    def choose(self, result: SearchResult) -> tuple[Allocation, dict[str, Any]]:
        """Choose the allocation with the largest predicted gain."""
        return result.best, {}


def locate_elastic(folder: RunFolder) -> Path:
    """Return the folder of a run's elastic adapter."""
    return folder.path / ELASTIC


def allocate_by_score(folder: RunFolder, config: RunConfig, pool: TrialPool) -> dict[str, Any]:
    """Allocate ranks by a zero-cost score instead of a search.

    Returns:
        The same entries as a search, with an empty history.

    Raises:
        InputError: If the score does not fit the model.
    """
    source = pool.source
    table = measure_scores(config, pool)
    write_json(folder.path / SCORES_FILE, table.to_json())
    best = allocate_by_scores(source.space, table)
    score, of_uniform = table.score([best.choices, source.space.origin]).tolist()
    logger.info("%s: score %.4g, uniform %.4g", table.kind, score, of_uniform)
    return {
        "predictor": table.kind,
        "proposal": "greedy",
        "measure": table.kind,
        "evaluations": 0,
        "steps": 0,
        "best": list(best.values),
        "history": [],
        "scores": {"best": score, "uniform": of_uniform, "tokens": table.tokens},
        "tokens": 0,
    }


def measure_scores(config: RunConfig, pool: TrialPool) -> ScoreTable:
    """Measure the score that `measure.kind` names on the run's pruned model and training data."""
    from rankadaptor.named_models import load
    from rankadaptor.proxies import measure_reconstruction, measure_spectra, measure_variance

    given, short = config.measure, build_measure(pool.source)
    common: dict[str, Any] = {"compute": short.compute, "examples": given.examples, "seed": config.seed}
    space = pool.source.space
    if given.kind == "reconstruction":
        dense, _ = load(config.model, compute=short.compute)
        return measure_reconstruction(short.model, dense, space, short.sequences, **common)
    measure = measure_spectra if given.kind == "spectra" else measure_variance
    return measure(short.model, space, short.sequences, **common)


def is_allocated_by_score(config: RunConfig) -> bool:
    """Tell whether the ranks are allocated by a score rather than searched."""
    return config.measure.kind in SCORES
