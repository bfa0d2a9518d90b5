"""The dense model in the stock types of the engine: as it is, with importance weights, and recovered."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rankadaptor.config.limits import read_size
from rankadaptor.engine.gguf_file import prepare_file
from rankadaptor.engine.quantisers import WITHOUT_IMPORTANCE
from rankadaptor.engine.stock import choose_stock_types
from rankadaptor.errors import InputError
from rankadaptor.model.families import describe_blocks, describe_linears
from rankadaptor.pipeline.compression.candidates import Candidate, recover_candidate
from rankadaptor.pipeline.compression.column_importance import measure_column_importance
from rankadaptor.pipeline.compression.delivery import DEFAULT_TYPE
from rankadaptor.pipeline.compression.measured_file import keep_measured, measure_as_is, measure_file
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


def measure_stock(setting: Setting) -> dict[str, Any]:
    """Measure the stock files that the run asks for: as they are, and with importance weights.

    Returns:
        `points`, one per file.
    """
    asked = setting.config.references
    stock = list_stock(setting) if "stock" in asked else []
    if "stock_importance" in asked:
        importance = measure_column_importance(setting.model, setting.make_calibration())
        stock += list_stock(setting, importance=importance)
    return {
        "points": [
            keep_measured(setting, FOLDER, each.name, partial(measure_as_is, setting, each)) for each in stock
        ]
    }


def recover_stock(setting: Setting, *, rate: float | None) -> dict[str, Any]:
    """Recover the dense model as the result was, and score it in each stock type.

    Where every stock file is far above the limit on bytes, that would be a comparison of different sizes,
    and nothing is recovered.

    Returns:
        `points`, one per file; `tokens` trained; `skipped`, a sentence that says why nothing was recovered.
    """
    given = setting.config.recover
    nothing: dict[str, Any] = {"points": [], "tokens": 0, "skipped": None}
    if "stock_recovered" not in setting.config.references or given is None or rate is None:
        return nothing
    stock = list_stock(setting)
    if (reason := _find_reason(setting, stock)) is not None:
        logger.info("stock files: %s", reason)
        return {**nothing, "skipped": reason}
    model, _ = Candidate("dense", STOCK).extract(setting)
    place = setting.folder.path / RECOVERED_FOLDER
    recovered = recover_candidate(
        setting, model, steps=given.steps, rate=rate, checkpoint=place / f"dense-{rate:g}"
    )

    def measure(candidate: Candidate) -> dict[str, Any]:
        return measure_file(
            setting, candidate, recovered.model, candidate.types or {},
            recovered=True, timed=False, in_place=False,  # one model serves all types
        )  # fmt: skip

    points = [
        keep_measured(setting, RECOVERED_FOLDER, f"{each.name}-{rate:g}", partial(measure, each))
        for each in stock
    ]
    return {**nothing, "points": points, "tokens": recovered.tokens}


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
