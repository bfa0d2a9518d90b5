"""What a compression will do and cost, from the model's `config.json` alone. No torch import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.config.sections import ComputeSection
from rankadaptor.errors import InputError
from rankadaptor.files import read_json
from rankadaptor.methods import find_method
from rankadaptor.planning.compression import check_compression_inputs, find_smallest_embedding
from rankadaptor.planning.compression_steps import list_steps
from rankadaptor.planning.folder_state import STEPS
from rankadaptor.planning.preconditions import PREVIEW
from rankadaptor.planning.rates import choose_rate
from rankadaptor.planning.resumption import mark_done
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.text_jobs import TextJobPlan
from rankadaptor.planning.token_law import describe_tokens
from rankadaptor.planning.trainable import count_trainable
from rankadaptor.runtime import count_cores


def estimate_compression(config: CompressConfig, *, measure: bool = False) -> TextJobPlan:
    """Estimate what `rankadaptor run` will do with a compression's run file.

    Args:
        config: The run.
        measure: Measure this machine's matrix products for a second instead of taking a usual figure.

    Raises:
        InputError: If the model is unknown, inputs are missing or malformed, or a limit cannot be kept.
    """
    shape = check_compression_inputs(config, first=PREVIEW)
    threads = config.compute.threads or count_cores()
    compute = ComputeSection(device=config.compute.device, dtype=config.compute.dtype, threads=1)
    rate = choose_rate(compute, measure=measure)
    workers = 1 if rate.on_gpu else threads
    steps, refusals = mark_done(list_steps(config, shape, rate, workers=workers), config)
    notes = [*config.list_places(), f"speed of a process: {rate.source}; processes at a time: {workers}"]
    if config.recover is not None and config.recover.may_need_teacher:
        notes.append(
            "Recoveries follow the dense model: its passes over each batch and its weights are counted, its "
            "tokens are not."
        )
    if (given := config.recover) is not None:
        notes += describe_tokens(given.steps * given.batch_size * config.data.length)
    return TextJobPlan(
        name=config.name,
        digest=config.digest(),
        output=config.output,
        limits=config.limits.describe(),
        parameters=shape.parameters,
        space=dict(_describe_space(config, shape)),
        latency=tuple(read_latency_table(Path(config.output))),
        steps=steps,
        assumptions=(*notes, *refusals),
        measures_speed=True,
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
    if config.recover is not None:
        method = find_method(config.recover.method)
        trained = count_trainable(method, shape, rank=config.recover.rank)
        yield (
            "recovery",
            f"{method.title}: {trained:,} parameters trained on the dense model, fewer on smaller",
        )
    yield "embedding", f"{', '.join(given.embedding)}; at least {least / 1e6:.1f} MB ({name})"
