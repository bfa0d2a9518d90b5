"""What a compression will do and cost, from the model's `config.json` alone. No torch import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.config.limits import read_size
from rankadaptor.config.sections import ComputeSection
from rankadaptor.engine.stock import choose_stock_types
from rankadaptor.engine.types import find_type
from rankadaptor.errors import ConfigError, InputError
from rankadaptor.files import read_json
from rankadaptor.planning.compression import check_compression_inputs, find_smallest_embedding
from rankadaptor.planning.costs import (
    Cost,
    Work,
    count_forward,
    count_scoring_bytes,
    count_taylor,
    count_taylor_bytes,
    count_teacher,
    count_teacher_bytes,
    count_training,
    count_training_bytes,
)
from rankadaptor.planning.folder_state import STEPS, FolderState, is_done, read_folder
from rankadaptor.planning.plan import PlanStep, StepTotals
from rankadaptor.planning.preconditions import PREVIEW
from rankadaptor.planning.rates import PROCESS_BYTES, Rate, choose_rate
from rankadaptor.planning.shape import ModelShape
from rankadaptor.runtime import count_cores

BATCH = 16  # sequences scored at once
COPIES_BYTES = 4  # of each weight of the rounded copies that the search keeps
BASELINES = ("uniform", "taylor", "flap", "block_influence", "sequential", "optimum")
NEAR = 1.05  # multiple of the limit up to which a stock file is recovered
FILE_SECONDS = 12.0
"""Writing a file of this project's size and measuring its speed on the engine."""


@dataclass(frozen=True)
class CompressionPlan(StepTotals):
    """All steps of a compression, and what the estimate rests on.

    Attributes:
        name: The run.
        digest: Its digest.
        output: Folder it writes to.
        limits: The limits in words.
        parameters: Parameters of the dense model.
        space: Facts on the space, by name.
        latency: The engine's measured speeds, if the folder holds them: rows of a table.
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

    def to_json(self) -> dict[str, Any]:
        """Return all figures as a JSON-like dict."""
        return {**asdict(self), "totals": self.totals}


def estimate_compression(config: CompressConfig, *, measure: bool = False) -> CompressionPlan:
    """Estimate what `rankadaptor run` will do with a compression's run file.

    Args:
        config: The run.
        measure: Measure this machine's matrix products for a second instead of taking a usual figure.

    Raises:
        InputError: If the model is unknown, inputs are missing or malformed, or a limit cannot be kept.
    """
    shape = check_compression_inputs(config, first=PREVIEW)
    threads = config.compute.threads or count_cores()
    compute = ComputeSection(device=config.compute.device, dtype=config.compute.dtype, threads=threads)
    rate = choose_rate(compute, measure=measure)
    folder = Path(config.output)
    state = _read_state(folder, config)
    steps = tuple(
        PlanStep(**{**vars(step), "done": state is not None and is_done(folder, state, step.name)})
        for step in _list_steps(config, shape, rate)
    )
    notes = [*config.list_places(), f"speed: {rate.source}, {threads} thread(s)"]
    if config.recover is not None and config.recover.needs_teacher:
        notes.append(
            "Recoveries follow the dense model: its passes over each batch and its weights are counted, its "
            "tokens are not."
        )
    if state is None or state.refused:
        notes.append(f"{folder} holds another run: choose another output, or discard it with --fresh.")
    return CompressionPlan(
        name=config.name,
        digest=config.digest(),
        output=config.output,
        limits=config.limits.describe(),
        parameters=shape.parameters,
        space=dict(_describe_space(config, shape)),
        latency=tuple(read_latency_table(folder)),
        steps=steps,
        assumptions=tuple(notes),
    )


def read_latency_table(folder: Path) -> list[dict[str, Any]]:
    """Return the engine's measured speeds of a run's folder; empty where they are not measured yet."""
    try:
        found = read_json(folder / STEPS / "speed.json")
    except (InputError, OSError):
        return []
    return list(found.get("table", [])) if isinstance(found, dict) else []


def _describe_space(config: CompressConfig, shape: ModelShape) -> Iterator[tuple[str, str]]:
    given = config.choices
    blocks, first = len(shape.blocks), shape.blocks[0]
    yield "slots", f"{2 * blocks + (1 if shape.tied else 2)} ({blocks} attentions, {blocks} MLPs, embedding)"
    yield "MLP channels", f"up to {first.channels} in multiples of 32" if given.width else "all"
    yield "KV groups", f"up to {first.kv_heads}" if given.attention else "all"
    yield "dropped layers", "attention, MLP or both of a block" if given.depth else "none"
    yield "types", ", ".join(given.types)
    least, name = find_smallest_embedding(config, shape)
    yield "embedding", f"{', '.join(given.embedding)}; at least {least / 1e6:.1f} MB ({name})"


def _list_steps(config: CompressConfig, shape: ModelShape, rate: Rate) -> Iterator[PlanStep]:
    data, length = config.data, config.data.length
    parts = 2 if data.other is not None else 1
    judged = parts * data.judge_sequences * length
    scored = data.search_sequences * length
    weights = shape.multiplied * (rate.bytes_per_weight + COPIES_BYTES)
    scoring = int(
        PROCESS_BYTES + weights + count_scoring_bytes(shape, _work(BATCH * length, length), dtype=rate.dtype)
    )

    def score(tokens: float) -> float:
        return rate.compute_seconds(count_forward(shape, _work(tokens, length)))

    calibration = config.choices.importance_rows * length
    taylor = rate.compute_seconds(count_taylor(shape, _work(calibration, length)))
    peak = PROCESS_BYTES + count_taylor_bytes(shape, _work(calibration, length), dtype=rate.dtype)
    yield PlanStep(
        "prepare", "order channels and heads, score the dense model", 1, calibration + judged,
        taylor + score(judged), int(peak),
    )  # fmt: skip
    if config.limits.latency is not None:
        yield PlanStep("speed", "measure types and widths on the engine", 1, 0, 120.0, PROCESS_BYTES)
    slots = 2 * len(shape.blocks) + 1
    sweep = min(2 * slots, int(0.6 * config.search.evaluations))
    rest = config.search.evaluations - sweep
    yield PlanStep(
        "sweep", f"{sweep} configurations that differ in one slot", sweep, sweep * scored,
        0.6 * score(sweep * scored), scoring,
    )  # fmt: skip
    yield PlanStep(
        "search", "exact optimum of their sum, refinement on the true score", rest, rest * scored,
        score(rest * scored), scoring,
    )  # fmt: skip
    given = config.recover
    names = [name for name in BASELINES if name in config.references]
    screened = config.search.screen_sequences * length * len(config.choices.types) * len(names)
    yield PlanStep("baselines", "the best type of each rule", len(names), screened, score(screened), scoring)
    if given is None:
        tokens, trained, training, step_tokens = 0, Cost(0.0, 0.0), scoring, 0
    else:
        step_tokens = given.batch_size * length
        adapter = given.rank * sum(each.in_features + each.out_features for each in shape.linears)
        trained = count_training(shape, _work(step_tokens, length), adapter=adapter)
        tokens = step_tokens
        training = int(
            PROCESS_BYTES
            + count_training_bytes(shape, _work(step_tokens, length), adapter=adapter, dtype=rate.dtype)
        )
        if given.needs_teacher:
            work = _work(step_tokens, length)
            trained += count_teacher(shape, work)
            training += int(
                count_teacher_bytes(shape, work, dtype=rate.dtype, outputs=given.hidden_weight > 0)
            )
    step_seconds = rate.compute_seconds(trained)
    short = given.finalist_steps if given is not None else 0
    runs = config.search.finalists + len(given.learning_rates) if given is not None else 0
    runs += "sequential" in config.references and given is not None
    yield PlanStep(
        "finalists", "recover the best ones shortly, choose one and the rate", runs, runs * short * tokens,
        runs * short * step_seconds, training,
    )  # fmt: skip
    if given is not None and given.ranks == "searched":
        trials = 1 + given.rank_evaluations + 2 * given.rank_seeds  # uniform once a seed
        held_out = scored + calibration
        yield PlanStep(
            "ranks", "short fine-tunes of rank allocations, the best against uniform on fresh seeds", trials,
            trials * (short * tokens + held_out),
            trials * (short * step_seconds + score(held_out)), training,
        )  # fmt: skip
    full = given.steps if given is not None else 0
    yield PlanStep(
        "recover", "recover the chosen one in full", 1, full * tokens, full * step_seconds, training
    )
    yield PlanStep("export", "write the file, check it on the engine", 1, 0, 2 * FILE_SECONDS, training)
    stock = len(config.stock_types)
    files = stock * sum(name in config.references for name in ("stock", "stock_importance"))
    yield PlanStep(
        "stock", f"{files} files of the dense model", 0, files * judged,
        score(files * judged) + FILE_SECONDS * files, scoring,
    )  # fmt: skip
    compared = stock if "stock_recovered" in config.references and given is not None else 0
    compared *= _is_stock_near(config, shape)
    yield PlanStep(
        "stock_recovered", f"the dense model recovered, as {compared} files" if compared else "nothing",
        int(compared > 0), compared * judged + (full * tokens if compared else 0),
        score(compared * judged) + (full * step_seconds if compared else 0.0), training,
    )  # fmt: skip
    recoveries = len(names) if given is not None else 0
    yield PlanStep(
        "references", f"{len(names)} files of other rules", recoveries,
        recoveries * full * tokens + len(names) * judged,
        recoveries * full * step_seconds + score(len(names) * judged) + FILE_SECONDS * len(names), training,
    )  # fmt: skip
    yield PlanStep("judge", "loss on the judging texts, verdict", 1, judged, score(judged), scoring)


def _is_stock_near(config: CompressConfig, shape: ModelShape) -> bool:
    """Tell whether the dense model is about small enough in its smallest stock type; see `recover_stock`."""
    if config.limits.size is None:
        return True
    return min(_count_stock_bytes(config, shape)) <= NEAR * read_size(config.limits.size)


def _count_stock_bytes(config: CompressConfig, shape: ModelShape) -> Iterator[int]:
    """Yield the bytes of the matrices of the dense model in each stock type."""
    sizes = {each.name: (each.out_features, each.in_features) for each in shape.linears}
    sizes |= dict.fromkeys(("model.embed_tokens", "lm_head"), (shape.vocabulary, shape.hidden))
    for name in config.stock_types:
        types = choose_stock_types(shape.linears, name, hidden=shape.hidden, tied=shape.tied)
        yield sum(find_type(kind).count_bytes(*sizes[module]) for module, kind in types.items())


def _work(tokens: float, length: int) -> Work:
    return Work(tokens=tokens, targets=tokens, length=length)


def _read_state(folder: Path, config: CompressConfig) -> FolderState | None:
    """Compare the run with what its folder holds; None if that cannot be read."""
    try:
        return read_folder(folder, config)
    except ConfigError:
        return None
