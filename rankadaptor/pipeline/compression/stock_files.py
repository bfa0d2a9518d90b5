"""The dense model in the stock types of the engine: as it is, with importance weights, and recovered."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.config.limits import read_size
from rankadaptor.engine.gguf_file import prepare_file
from rankadaptor.engine.quantisers import WITHOUT_IMPORTANCE
from rankadaptor.engine.stock import choose_stock_types
from rankadaptor.errors import InputError
from rankadaptor.model.families import describe_blocks, describe_linears
from rankadaptor.pipeline.compression.candidates import (
    Candidate,
    choose_trained_types,
    recover_candidate,
)
from rankadaptor.pipeline.compression.column_importance import measure_column_importance
from rankadaptor.pipeline.compression.delivery import DEFAULT_TYPE
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.measured_file import (
    add_speeds,
    keep_measured,
    log_points,
    measure_as_is,
    measure_file,
    name_place,
    name_result,
)
from rankadaptor.pipeline.compression.recovering import Recovered
from rankadaptor.pipeline.compression.setting import Setting

logger = logging.getLogger(__name__)

STOCK = "stock"
FOLDER = "stock"
RECOVERED_FOLDER = "stock_recovered"
WEIGHTED = ", importance weights"
NEAR = 1.05
"""The dense model is recovered where one of its files has at most this multiple of the limit on bytes."""


def list_stock(setting: Setting, *, importance: Mapping[str, Any] | None = None) -> list[Candidate]:
    """Return the dense model in each stock type of the engine that the model can take.

    Args:
        setting: The run's inputs.
        importance: Importance weights by module name. Types that have no use for them are then left out.
    """
    model, ending = setting.model, WEIGHTED if importance else ""
    linears, shape = describe_linears(model), describe_blocks(model)[0]
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    found: dict[tuple[tuple[str, str], ...], Candidate] = {}
    for name in setting.config.stock_types:
        try:
            types = choose_stock_types(
                linears,
                name,
                hidden=model.config.hidden_size,
                tied=tied,
                grouped_queries=shape.heads // max(shape.kv_heads, 1),
                importance=bool(importance),
            )
        except InputError as error:
            logger.info("stock type %s: %s", name, error)
            continue
        if importance and all(types[each] in WITHOUT_IMPORTANCE for each in importance):
            continue
        stock = Candidate(f"stock {name}{ending}", STOCK, types=types, importance=importance)
        found.setdefault(tuple(sorted(types.items())), stock)
    return list(found.values())


def list_stock_jobs(setting: Setting) -> list[Job]:
    """Return what is to be done for the stock files that the run asks for, each by itself."""
    asked = setting.config.references
    stock = list_stock(setting) if "stock" in asked else []
    if "stock_importance" in asked:
        importance = measure_column_importance(setting.model, setting.make_calibration())
        stock += list_stock(setting, importance=importance)
    return [
        Job(each.name, measure_as_is, (each, FOLDER), (name_result(name_place(setting, FOLDER, each.name)),))
        for each in stock
    ]


def measure_stock(setting: Setting) -> dict[str, Any]:
    """Measure the stock files that the run asks for: as they are, and with importance weights.

    Returns:
        `points`, one per file.
    """
    jobs = list_stock_jobs(setting)
    do_jobs(setting, jobs, what="stock files")
    add_speeds(setting, [name_place(setting, FOLDER, job.name) for job in jobs])
    points = [point for job in jobs for point in job.do(setting)["points"]]
    log_points(points)
    return {"points": points}


def list_stock_recoveries(setting: Setting, *, rate: float | None) -> list[Job]:
    """Return the recoveries of the dense model for its stock files, if they are worth it."""
    stock = list_stock(setting)
    if not _is_asked(setting, rate) or _find_reason(setting, stock) is not None:
        return []
    assert rate is not None
    return [
        Job(
            f"{', '.join(each.name for each in group)}, recovered",
            measure_recovered_stock,
            (group, rate),
            tuple(name_result(_name_recovered(setting, each, rate)) for each in group),
        )
        for group in group_recoveries(setting, stock)
    ]


def group_recoveries(setting: Setting, stock: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the stock files that one recovery of the dense model serves, together.

    All of them, where it trains float weights; otherwise those whose trained types are the same.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Candidate]] = {}
    for each in stock:
        trained = choose_trained_types(setting, each.types or {})
        groups.setdefault(tuple(sorted(trained.items())), []).append(each)
    return list(groups.values())


def recover_stock(setting: Setting, *, rate: float | None) -> dict[str, Any]:
    """Recover the dense model as the result was, and score it in each stock type.

    Where every stock file is far above the limit on bytes, that would be a comparison of different sizes,
    and nothing is recovered.

    Returns:
        `points`, one per file; `tokens` trained; `skipped`, a sentence that says why nothing was recovered.
    """
    nothing: dict[str, Any] = {"points": [], "tokens": 0, "skipped": None}
    if not _is_asked(setting, rate):
        return nothing
    assert rate is not None
    stock = list_stock(setting)
    if (reason := _find_reason(setting, stock)) is not None:
        logger.info("stock files: %s", reason)
        return {**nothing, "skipped": reason}
    groups = [measure_recovered_stock(setting, group, rate) for group in group_recoveries(setting, stock)]
    points = [point for found in groups for kept in found for point in kept["points"]]
    log_points(points)
    tokens = sum(max(kept["tokens"] for kept in found) for found in groups)
    return {**nothing, "points": points, "tokens": tokens}


def measure_recovered_stock(
    setting: Setting, stock: Sequence[Candidate], rate: float
) -> list[dict[str, Any]]:
    """Recover the dense model once and score it in each of these types, or read what is kept of that."""
    given = setting.config.recover
    assert given is not None

    @functools.cache
    def recover() -> Recovered:  # one model serves all types
        model, types = stock[0].extract(setting)
        name = stock[0].name if choose_trained_types(setting, types) else "dense"
        place = name_place(setting, RECOVERED_FOLDER, f"{name}-{rate:g}")
        return recover_candidate(setting, model, types, steps=given.steps, rate=rate, checkpoint=place)

    def measure(candidate: Candidate) -> dict[str, Any]:
        recovered = recover()
        point = measure_file(
            setting, candidate, recovered.model, candidate.types or {}, recovered=True, in_place=False
        )
        return {"points": [point], "tokens": recovered.tokens}

    return [
        keep_measured(_name_recovered(setting, each, rate), functools.partial(measure, each))
        for each in stock
    ]


def _name_recovered(setting: Setting, candidate: Candidate, rate: float) -> Path:
    return name_place(setting, RECOVERED_FOLDER, f"{candidate.name}-{rate:g}")


def _is_asked(setting: Setting, rate: float | None) -> bool:
    asked = "stock_recovered" in setting.config.references
    return asked and setting.config.recover is not None and rate is not None


def _find_reason(setting: Setting, stock: Sequence[Candidate]) -> str | None:
    """Say why no stock file is worth a recovery; None if one is."""
    if not stock:
        return "the model fits none of the stock types, so there was none to recover."
    if setting.config.limits.size is None:
        return None
    bound = read_size(setting.config.limits.size)
    sizes = {each.name: _count_bytes(setting, each) for each in stock}
    smallest = min(sizes, key=lambda name: sizes[name])
    if sizes[smallest] <= NEAR * bound:
        return None
    return (
        f"the dense model was not recovered for stock types, because the smallest of its files, {smallest}, "
        f"has {sizes[smallest]:,} bytes, {sizes[smallest] / bound:.2f} times the limit of {bound:,}."
    )


def _count_bytes(setting: Setting, candidate: Candidate) -> int:
    """Return the bytes of a stock file, from its plan."""
    prepared = prepare_file(
        setting.model, setting.tokenizer, types=candidate.types, default_type=DEFAULT_TYPE
    )
    return prepared.plan.bytes
