"""Every choice recovered in full on fresh seeds, and compared with uniform on the same seeds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.choice import Choice
from rankadaptor.components.adapter import add_scales, count_parameters
from rankadaptor.errors import TrainingError
from rankadaptor.evaluation.benchmarks import Scores, compare_scores
from rankadaptor.files import compute_digest
from rankadaptor.pipeline.finals import evaluate_one, recover_one
from rankadaptor.pipeline.trials import Job
from rankadaptor.runtime import find_commit
from rankadaptor.verdict import SMALLEST_SHARE, Judgement, judge_gains

if TYPE_CHECKING:
    from experiments.compare.config import BenchmarkSection
    from experiments.compare.prepared_setting import PreparedSetting
    from experiments.jobs import FinalSection
    from rankadaptor.corpus import Record

logger = logging.getLogger(__name__)

UNIFORM = "uniform"


def recover_choices(
    prepared: PreparedSetting, choices: Mapping[str, Choice], final: FinalSection
) -> dict[str, list[Record]]:
    """Recover every choice, and uniform, in full under each fresh seed.

    Returns:
        Per name one record a seed, in the seeds' order. A choice with a recipe of its own has a record file
        of its own.
    """
    seeds, steps = _list_seeds(final), prepared.source.recipe.steps
    own = prepared.source.recipe
    plain = {
        name: choice
        for name, choice in choices.items()
        if choice.change_recipe(own) == own and not choice.with_scales
    }
    jobs = {
        name: [Job(prepared.space.allocation(choice.values), seed, steps) for seed in seeds]
        for name, choice in plain.items()
    }
    jobs[UNIFORM] = [Job(prepared.space.reference(), seed, steps) for seed in seeds]
    distinct = dict.fromkeys(job for group in jobs.values() for job in group)
    prepared.pool.measure_all(list(distinct), label="full recoveries")
    records = {name: [prepared.pool.find(job) for job in group] for name, group in jobs.items()}
    found: dict[str, list[Record]] = {
        name: [record for record in group if record is not None] for name, group in records.items()
    }
    for name, choice in choices.items():
        if choice.with_scales:
            with prepared.with_scales() as with_scales:
                allocation = with_scales.space.allocation(choice.values)
                found[name] = with_scales.pool.measure_all(
                    [Job(allocation, seed, steps) for seed in seeds], label=f"full recoveries of {name}"
                )
        if choice.change_recipe(own) == own:
            continue
        with prepared.change(choice.change_recipe(own)) as changed:
            allocation = prepared.space.allocation(choice.values)
            found[name] = changed.pool.measure_all(
                [Job(allocation, seed, steps) for seed in seeds], label=f"full recoveries of {name}"
            )
    return found


def judge_choices(
    prepared: PreparedSetting,
    choices: Mapping[str, Choice],
    *,
    final: FinalSection,
    benchmarks: BenchmarkSection,
) -> list[dict[str, Any]]:
    """Recover all choices and return one row a method, uniform's first."""
    records = recover_choices(prepared, choices, final)
    scores = _score_choices(prepared, choices, final=final, benchmarks=benchmarks)
    names = dict.fromkeys([UNIFORM, *choices])
    return [
        _write_row(
            prepared,
            name,
            choices.get(name, Choice(prepared.space.reference().values)),
            records=records[name],
            uniform=records[UNIFORM],
            confidence=final.confidence,
            scores=scores.get(name, {}),
        )
        for name in names
    ]


def _write_row(
    prepared: PreparedSetting,
    name: str,
    choice: Choice,
    *,
    records: list[Record],
    uniform: list[Record],
    confidence: float,
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    gains, judged = judge_pairs(records, uniform, confidence=confidence)
    losses = [record.loss for record in records if record.loss is not None]
    loss = float(np.mean(losses)) if losses else None
    is_uniform = name == UNIFORM
    pruned, dense = prepared.losses["pruned"], prepared.losses.get("dense")
    row: dict[str, Any] = {
        "setting": prepared.config.name,
        "method": name,
        "parameters": count_parameters(prepared.space, choice.values[: prepared.space.n_slots]),
        "cost_tokens": choice.tokens,
        "seeds": len(gains),
        "failures": len(records) - len(gains),
        "confidence": confidence,
        "trial_steps": prepared.steps,
        "steps": prepared.source.recipe.steps,
        "loss": loss,
        "gain": 0.0 if is_uniform else judged.gain,
        "gain_low": None if is_uniform else judged.low,
        "gain_high": None if is_uniform else judged.high,
        "benchmarks": dict(scores),
        "outcome": "reference" if is_uniform else judged.outcome,
        "gains": gains,
        "loss_pruned": pruned,
        "loss_dense": dense,
        "regained": None if loss is None or dense is None else (pruned - loss) / (pruned - dense),
        "extra_regained": find_extra(judged.gain, uniform, pruned) if not is_uniform else 0.0,
        "learning_rate": choice.learning_rate or prepared.source.recipe.learning_rate,
        "initialisation": choice.initialisation or prepared.source.recipe.initialisation,
        "values": list(choice.values),
        "equals_uniform": _is_uniform(prepared, choice),
        "scales": dict(choice.details.get("scales", {})),
        "cost_seconds": round(choice.seconds, 1),
        "recovery_seconds": round(sum(record.seconds for record in records), 1),
        "tuning_tokens": prepared.tuning_tokens,
        "details": dict(choice.details),
        "commit": find_commit(),
    }
    return row


def judge_pairs(
    records: Sequence[Record], uniform: Sequence[Record], *, confidence: float
) -> tuple[list[float], Judgement]:
    """Pair records with uniform's by seed and judge the gains; a verdict needs four fifths of the pairs.

    Runs that break down are not missing at random, so what the others say decides nothing then.
    """
    gains = pair_gains(records, uniform)
    judged = judge_gains(gains, confidence=confidence)
    if len(gains) < SMALLEST_SHARE * len(records):
        reason = f"{len(records) - len(gains)} of {len(records)} pairs failed"
        judged = dataclasses.replace(judged, outcome="no difference", reason=reason)
    return gains, judged


def _is_uniform(prepared: PreparedSetting, choice: Choice) -> bool:
    same_ranks = choice.values[: prepared.space.n_slots] == prepared.space.reference().values
    same_recipe = choice.change_recipe(prepared.source.recipe) == prepared.source.recipe
    return same_ranks and same_recipe and not choice.details.get("scales")


def pair_gains(records: Sequence[Record], uniform: Sequence[Record]) -> list[float]:
    """Return uniform's loss minus the record's, seed by seed, where both succeeded; nats per token."""
    reference = {record.seed: record.loss for record in uniform}
    gains = []
    for record in records:
        other = reference.get(record.seed)
        if record.loss is not None and other is not None:
            gains.append(other - record.loss)
    return gains


def find_extra(gain: float | None, uniform: list[Record], pruned: float) -> float | None:
    """Return the gain as a share of what uniform wins back of the pruned model's loss."""
    losses = [record.loss for record in uniform if record.loss is not None]
    if gain is None or not losses or pruned <= float(np.mean(losses)):
        return None
    return gain / (pruned - float(np.mean(losses)))


def _score_choices(
    prepared: PreparedSetting,
    choices: Mapping[str, Choice],
    *,
    final: FinalSection,
    benchmarks: BenchmarkSection,
) -> dict[str, dict[str, Any]]:
    """Recover each distinct choice once more, on the first seed, and let it answer the benchmarks."""
    if not benchmarks.names:
        return {}
    every = {UNIFORM: Choice(prepared.space.reference().values), **choices}
    owners: dict[tuple[Any, ...], str] = {}
    answered: dict[str, Scores] = {}
    for name, choice in every.items():
        key = (choice.values, choice.learning_rate, choice.initialisation)
        if key not in owners:
            owners[key] = name
            try:
                answered[name] = _answer(prepared, name, choice, final=final, benchmarks=benchmarks)
            except TrainingError as error:  # the losses already tell of it; scores of the others remain
                logger.warning("%s is not scored: %s", name, error)
        elif owners[key] in answered:
            answered[name] = answered[owners[key]]
    return {
        name: {
            **scores.summary(),
            **(
                {"difference": compare_scores(scores, answered[UNIFORM]).summary()}
                if name != UNIFORM and UNIFORM in answered
                else {}
            ),
        }
        for name, scores in answered.items()
    }


def _answer(
    prepared: PreparedSetting, name: str, choice: Choice, *, final: FinalSection, benchmarks: BenchmarkSection
) -> Scores:
    # Named by all that it depends on: another choice, length or limit must not find this one's files.
    depends = [
        choice.values,
        choice.learning_rate,
        choice.with_scales,
        *([choice.initialisation] if choice.initialisation else []),
        final.first_seed,
        prepared.source.recipe.steps,
    ]
    name = f"{name}-{compute_digest([*depends, benchmarks.names, benchmarks.limit], length=8)}"
    target = prepared.folder.adapter(name)
    if not (target / "outcome.json").exists():
        recipe = choice.change_recipe(prepared.source.recipe)
        space = add_scales(prepared.space) if choice.with_scales else prepared.space
        recover_one(
            source=dataclasses.replace(prepared.source, recipe=recipe, space=space),
            values=choice.values,
            target=target,
            steps=recipe.steps,
            seed=final.first_seed,
            evaluate_every=recipe.steps,
            patience=None,
        )
    document = evaluate_one(
        name=name,
        folder=prepared.folder,
        dense=prepared.config.model,
        benchmarks=list(benchmarks.names),
        limit=benchmarks.limit,
        compute=prepared.source.compute,
    )
    return Scores.from_json(document)


def _list_seeds(final: FinalSection) -> list[int]:
    return list(range(final.first_seed, final.first_seed + final.seeds))
