"""Checks and costs of an elastic job, from its run file and the model's `config.json`. No torch import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rankadaptor.config import ElasticConfig
from rankadaptor.config.sections import ComputeSection
from rankadaptor.engine.types import find_type
from rankadaptor.methods import LORA, find_method
from rankadaptor.planning.costs import (
    Work,
    count_forward,
    count_scoring_bytes,
    count_taylor,
    count_taylor_bytes,
    count_training,
    count_training_bytes,
)
from rankadaptor.planning.plan import PlanStep
from rankadaptor.planning.preconditions import (
    PREVIEW,
    Check,
    check_model_source,
    check_start,
    list_tracking_checks,
    run_checks,
)
from rankadaptor.planning.rates import PROCESS_BYTES, Rate, choose_rate
from rankadaptor.planning.resumption import mark_done
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.text_jobs import TextJobPlan, list_text_checks
from rankadaptor.planning.trainable import count_trainable
from rankadaptor.runtime import count_cores

BATCH = 16  # sequences scored at once


def check_elastic(config: ElasticConfig, *, output: Path | None = None, fresh: bool = False) -> None:
    """Check everything about an elastic job that needs no weights, before anything is written.

    Raises:
        InputError: With the fault, or all faults of the inputs at once.
        StorageError: If the folder cannot be written.
    """
    check_start(
        config, lambda: check_elastic_inputs(config), read_until="prepare", output=output, fresh=fresh
    )


def check_elastic_inputs(config: ElasticConfig, *, first: int | None = None) -> ModelShape:
    """Check model, text and tracking store of an elastic job; return the model's sizes.

    Args:
        config: The run.
        first: Rows to read of each file at most; None reads all.

    Raises:
        InputError: With all faults at once, each naming its key.
    """
    shape = check_model_source(config.model)
    checks: list[Check] = [
        ("choices.type", lambda: find_type(config.choices.type)),
        ("train.merge_as", lambda: find_type(config.train.merge_as or config.choices.type)),
        *list_text_checks(config, shape, first=first),
        *list_tracking_checks(config.track, load=first is None),
    ]
    run_checks(config.name, checks)
    return shape


def estimate_elastic(config: ElasticConfig, *, measure: bool = False) -> TextJobPlan:
    """Estimate what `rankadaptor run` will do with the run file of an elastic job.

    Args:
        config: The run.
        measure: Measure this machine's matrix products for a second instead of taking a usual figure.

    Raises:
        InputError: If the model is unknown, or inputs are missing or malformed.
    """
    shape = check_elastic_inputs(config, first=PREVIEW)
    given = config.compute
    compute = ComputeSection(device=given.device, dtype=given.dtype, threads=given.threads or count_cores())
    rate = choose_rate(compute, measure=measure)
    steps, refusals = mark_done(_list_steps(config, shape, rate), config)
    chosen = config.choices
    first = shape.blocks[0]
    notes = [*config.list_places(), f"speed of a process: {rate.source}; one process"]
    notes.append("smaller allocations are taken to cost what their share of the widths costs")
    least = chosen.smallest if chosen.width else 1.0
    return TextJobPlan(
        name=config.name,
        digest=config.digest(),
        output=config.output,
        limits=config.search.parameters or "as large as the heuristic",
        parameters=shape.parameters,
        space={
            "MLP channels": f"{least * first.channels:.0f} to {first.channels}",
            "KV groups": f"up to {first.kv_heads}" if chosen.attention else "all",
            "dropped layers": "attention, MLP or both of a block" if chosen.depth else "none",
            "adapter ranks": f"{', '.join(map(str, chosen.ranks))}, one for each {chosen.rank_slots}",
        },
        latency=(),
        steps=steps,
        assumptions=(*notes, *refusals),
        measures_speed=False,
    )


def _list_steps(config: ElasticConfig, shape: ModelShape, rate: Rate) -> Iterator[PlanStep]:
    given, length = config.train, config.data.length
    calibration = config.choices.importance_rows * length
    judged = (2 if config.data.other is not None else 1) * config.data.judge_sequences * length
    searched = config.data.search_sequences * length
    adapter = count_trainable(find_method(LORA), shape, rank=max(config.choices.ranks))
    slices, share = count_passes(config)

    def work(tokens: float) -> Work:
        return Work(tokens=tokens, targets=tokens, length=length)

    def score(tokens: float) -> float:
        return rate.compute_seconds(count_forward(shape, work(tokens)))

    batch = given.batch_size * length
    step = rate.compute_seconds(count_training(shape, work(batch), adapter=adapter))
    memory = count_training_bytes(shape, work(batch), adapter=adapter, dtype=rate.dtype)
    training = int(PROCESS_BYTES + memory)
    scoring = int(PROCESS_BYTES + count_scoring_bytes(shape, work(BATCH * length), dtype=rate.dtype))
    taylor = count_taylor_bytes(shape, work(calibration), dtype=rate.dtype)
    yield PlanStep("prepare", "divide the text, score the model", 1, judged, score(judged), scoring)
    yield PlanStep(
        "train",
        f"super-network, {slices} allocations a step",
        1,
        given.steps * slices * batch + calibration,
        given.steps * slices * share * step + rate.compute_seconds(count_taylor(shape, work(calibration))),
        max(training, int(PROCESS_BYTES + taylor)),
    )
    counts = [1 if name == "heuristic" else config.search.evaluations for name in config.search.methods]
    yield PlanStep(
        "search",
        f"{', '.join(config.search.methods)} on the search text",
        sum(counts),
        sum(counts) * searched,
        sum(counts) * share * score(searched),
        scoring,
    )
    runs = len(config.references) * len(given.reference_rates or (given.learning_rate,))
    tokens = runs * given.steps * slices * batch
    what = "the references, trained on as many tokens" if runs else "the model as it is"
    seconds = runs * given.steps * slices * step + (runs + 1) * score(judged)
    yield PlanStep("references", what, runs, tokens + (runs + 1) * judged, seconds, training)
    methods = len(config.search.methods)
    what = "the results on the judging texts"
    yield PlanStep("judge", what, methods, methods * judged, methods * score(judged), scoring)
    if config.file:
        yield PlanStep("deliver", "the result as a file", 1, 2 * judged, 2 * score(judged), scoring)


def count_passes(config: ElasticConfig) -> tuple[int, float]:
    """Return the allocations of a training step, and the share of a whole pass that one takes on average."""
    least = config.choices.smallest if config.choices.width else 1.0
    middle = (1 + least) / 2
    if config.train.rule == "sandwich":
        return 4, (1 + least + 2 * middle) / 4
    return 1, middle if config.train.rule == "random" else (1 + middle) / 2
