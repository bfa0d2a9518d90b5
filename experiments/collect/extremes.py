"""The best and the worst allocations of a setting, recovered in full and scored on benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.collect.studies import ExtremesSection
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.evaluation.benchmarks import Score, Scores, compare_scores
from rankadaptor.files import compute_digest, read_json
from rankadaptor.pipeline.execution import count_local_workers
from rankadaptor.pipeline.finals import OUTCOME, evaluate_one, recover_one
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.progress import Progress
from rankadaptor.space import Space, Values
from rankadaptor.workers import run_side_by_side


def score_extremes(
    folder: RunFolder,
    config: RunConfig,
    source: TrialSource,
    measured: Sequence[Record],
    given: ExtremesSection,
) -> list[dict[str, Any]]:
    """Recover uniform and the best and worst allocations, and evaluate them on the benchmarks.

    All are recovered under one seed that was not used for the order, and evaluated on the same items. Results
    of an interrupted collection are read from its folder.

    Args:
        folder: Where adapters and scores are kept.
        config: The run.
        source: The setting.
        measured: Records that give the order, those under the run's seed at `search.steps`.
        given: Number of allocations, steps and benchmarks.

    Returns:
        One JSON-like entry per model, uniform first, in the format of a study's `benchmarks`.
    """
    roles = choose_extremes(config, source.space, measured, count=given.extremes)
    steps = given.steps or config.recover.steps
    names = {
        values: f"{role}-{compute_digest([values, steps, given.seed], length=8)}"
        for values, role in roles.items()
    }
    asked = f"-{compute_digest([given.names, given.limit], length=8)}"
    workers = count_local_workers(config)
    recoveries: list[dict[str, Any]] = [
        {
            "source": source,
            "values": values,
            "target": folder.adapter(name),
            "steps": steps,
            "seed": given.seed,
            "evaluate_every": steps,
            "patience": None,
        }
        for values, name in names.items()
        if not (folder.adapter(name) / OUTCOME).exists()
    ]
    questions: list[dict[str, Any]] = [
        {
            "name": name,
            "folder": folder,
            "dense": config.model,
            "benchmarks": list(given.names),
            "limit": given.limit,
            "compute": source.compute,
            "asked": asked,
        }
        for name in names.values()
    ]
    with Progress("recover the extremes", len(recoveries), unit="models", interval=0.0) as progress:
        for index, outcome in run_side_by_side(recover_one, recoveries, workers=workers):
            progress.advance(note=f"{recoveries[index]['target'].name}: loss {outcome['loss']:.4f}")
    scores: dict[int, Scores] = {}
    with Progress("score the extremes", len(questions), unit="models", interval=0.0) as progress:
        for index, document in run_side_by_side(evaluate_one, questions, workers=workers):
            scores[index] = Scores.from_json(document)
            progress.advance(note=f"{questions[index]['name']}: mean accuracy {scores[index].mean:.3f}")
    return [
        {
            "values": list(values),
            "seed": given.seed,
            "steps": steps,
            "loss": read_json(folder.adapter(names[values]) / OUTCOME)["loss"],
            "role": role,
            "scores": _describe(scores[index], scores[0] if index else None),
        }
        for index, (values, role) in enumerate(roles.items())
    ]


def choose_extremes(
    config: RunConfig, space: Space, measured: Sequence[Record], *, count: int
) -> dict[Values, str]:
    """Return the roles of uniform, the `count` best and the `count` worst by paired gain.

    If too few were measured, the two groups are as large as possible without an overlap.
    """
    uniform = space.reference().values
    gains = {
        record.values: record.gain
        for record in measured
        if record.seed == config.seed
        and record.steps == config.search.steps
        and record.gain is not None
        and record.values != uniform
    }
    ordered = sorted(gains, key=lambda values: -gains[values])
    each = min(count, len(ordered) // 2)
    best, worst = ordered[:each], ordered[len(ordered) - each :]
    return {
        uniform: "uniform",
        **dict.fromkeys(best, "best"),
        **dict.fromkeys(worst, "worst"),
    }


def _describe(scores: Scores, uniform: Scores | None) -> dict[str, dict[str, Any]]:
    described = {score.benchmark: _describe_one(score) for score in scores.benchmarks}
    if uniform is not None:
        for difference in compare_scores(scores, uniform).benchmarks:
            described[difference.benchmark] |= {
                "difference": difference.difference,
                "difference_stderr": difference.standard_error,
            }
    return described


def _describe_one(score: Score) -> dict[str, Any]:
    return {"value": score.accuracy, "stderr": score.standard_error, "items": score.n}
