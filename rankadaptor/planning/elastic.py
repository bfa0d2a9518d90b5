"""Checks and costs of an elastic job, from its run file and the model's `config.json`. No torch import."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankadaptor.config import ElasticConfig
from rankadaptor.config.sections import ComputeSection
from rankadaptor.engine.types import find_type
from rankadaptor.errors import ConfigError
from rankadaptor.methods import LORA, find_method
from rankadaptor.planning.compression import check_window
from rankadaptor.planning.costs import (
    Work,
    count_forward,
    count_scoring_bytes,
    count_taylor,
    count_taylor_bytes,
    count_training,
    count_training_bytes,
)
from rankadaptor.planning.folder_state import check_output, is_done, read_folder
from rankadaptor.planning.plan import PlanStep, StepTotals
from rankadaptor.planning.preconditions import (
    PREVIEW,
    check_model_source,
    check_requirement,
    check_row_source,
    check_tracking,
    run_checks,
)
from rankadaptor.planning.rates import PROCESS_BYTES, Rate, choose_rate
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.trainable import count_trainable
from rankadaptor.requirements import MLFLOW
from rankadaptor.runtime import count_cores

BATCH = 16  # sequences scored at once


@dataclass(frozen=True)
class ElasticPlan(StepTotals):
    """All steps of an elastic job, and what the estimate rests on.

    Attributes:
        name: The run.
        digest: Its digest.
        output: Folder it writes to.
        limits: The limit in words.
        parameters: Parameters of the whole model.
        space: Facts on the space, by name.
        latency: Nothing: no speeds are planned.
        steps: In order.
        assumptions: What the figures rest on, one sentence each.
    """

    name: str
    digest: str
    output: str
    limits: str
    parameters: int
    space: Mapping[str, str]
    latency: tuple[Mapping[str, Any], ...]
    steps: tuple[PlanStep, ...]
    assumptions: tuple[str, ...]

    @property
    def measures_speed(self) -> bool:
        """Whether the run may measure the engine's speeds."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Return all figures as a JSON-like dict."""
        return {**asdict(self), "totals": self.totals}


def check_elastic(config: ElasticConfig, *, output: Path | None = None, fresh: bool = False) -> None:
    """Check everything about an elastic job that needs no weights, before anything is written.

    Raises:
        InputError: With the fault, or all faults of the inputs at once.
        StorageError: If the folder cannot be written.
    """
    folder = output or Path(config.output)
    check_output(folder, config, fresh=fresh, adapt=True)
    if not fresh and is_done(folder, read_folder(folder, config), "prepare"):
        return  # it has read them; what changed since is compared as the run continues
    check_elastic_inputs(config)


def check_elastic_inputs(config: ElasticConfig, *, first: int | None = None) -> ModelShape:
    """Check model, text and tracking store of an elastic job; return the model's sizes.

    Args:
        config: The run.
        first: Rows to read of each file at most; None reads all.

    Raises:
        InputError: With all faults at once, each naming its key.
    """
    shape = check_model_source(config.model)
    sources = [("data.text", source) for source in config.data.text]
    sources += [("data.other", config.data.other)] if config.data.other is not None else []
    checks: list[tuple[str, Callable[[], object]]] = [
        ("choices.type", lambda: find_type(config.choices.type)),
        ("data.length", lambda: check_window(config.data.length, shape)),
        *(
            (key, functools.partial(check_row_source, source, model=config.model, first=first))
            for key, source in sources
        ),
    ]
    if config.track.enabled:
        checks.append(("track.enabled", functools.partial(check_requirement, MLFLOW, load=first is None)))
        checks.append(("track.uri", lambda: check_tracking(config.track)))
    run_checks(config.name, checks)
    return shape


def estimate_elastic(config: ElasticConfig, *, measure: bool = False) -> ElasticPlan:
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
    folder = Path(config.output)
    try:
        state = read_folder(folder, config)
    except ConfigError:
        state = None
    steps = tuple(
        PlanStep(**{**vars(step), "done": state is not None and is_done(folder, state, step.name)})
        for step in _list_steps(config, shape, rate)
    )
    chosen = config.choices
    first = shape.blocks[0]
    notes = [*config.list_places(), f"speed of a process: {rate.source}; one process"]
    notes.append("smaller allocations are taken to cost what their share of the widths costs")
    if state is None or state.refused:
        notes.append(f"{folder} holds another run: choose another output, or discard it with --fresh.")
    least = chosen.smallest if chosen.width else 1.0
    return ElasticPlan(
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
        assumptions=tuple(notes),
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
    runs = len(config.references)
    tokens = runs * given.steps * slices * batch
    what = "the references, trained on as many tokens" if runs else "the model as it is"
    seconds = runs * given.steps * slices * step + (runs + 1) * score(judged)
    yield PlanStep("references", what, runs, tokens + (runs + 1) * judged, seconds, training)
    methods = len(config.search.methods)
    what = "the results on the judging texts"
    yield PlanStep("judge", what, methods, methods * judged, methods * score(judged), scoring)


def count_passes(config: ElasticConfig) -> tuple[int, float]:
    """Return the allocations of a training step, and the share of a whole pass that one takes on average."""
    least = config.choices.smallest if config.choices.width else 1.0
    middle = (1 + least) / 2
    if config.train.rule == "sandwich":
        return 4, (1 + least + 2 * middle) / 4
    return 1, middle if config.train.rule == "random" else (1 + middle) / 2
