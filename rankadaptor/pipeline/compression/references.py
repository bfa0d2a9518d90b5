"""What the result is compared with: the dense model in stock types, and other rules at the same limits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.engine.quantisers import WITHOUT_IMPORTANCE
from rankadaptor.engine.stock import choose_stock_types
from rankadaptor.errors import InputError, NonFiniteError, TrainingError
from rankadaptor.files import write_json
from rankadaptor.model import describe_model
from rankadaptor.model.families import describe_blocks, describe_linears
from rankadaptor.pipeline.compression.candidates import Candidate, measure_rounded, recover_candidate
from rankadaptor.pipeline.compression.column_importance import measure_column_importance
from rankadaptor.pipeline.compression.delivery import DEFAULT_TYPE, measure_file_speed
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.step_files import read_object

logger = logging.getLogger(__name__)

STOCK = "stock"
FOLDER = "references"
WEIGHTED = ", importance weights"


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


def measure_references(setting: Setting, baselines: list[Candidate], *, rate: float | None) -> dict[str, Any]:
    """Measure every reference that the run asks for: as it is, and after the same recovery.

    Returns:
        `points`, one per file, and `tokens` trained.
    """
    asked = setting.config.references
    points: list[dict[str, Any]] = []
    tokens = 0
    stock = list_stock(setting) if {"stock", "stock_recovered"} & set(asked) else []
    if "stock" in asked:
        points += [_keep(setting, each.name, partial(measure_as_is, setting, each)) for each in stock]
    if "stock_importance" in asked:
        points += _keep(setting, "weighted stock", partial(measure_weighted_stock, setting))["points"]
    if setting.config.recover is not None and rate is not None:
        if "stock_recovered" in asked and stock:
            kept = _keep(setting, "recovered stock", partial(recover_stock, setting, stock, rate=rate))
            points += kept["points"]
            tokens += kept["tokens"]
        for each in baselines:
            kept = _keep(setting, each.name, partial(recover_baseline, setting, each, rate=rate))
            points += kept["points"]
            tokens += kept["tokens"]
    else:
        points += [_keep(setting, each.name, partial(measure_as_is, setting, each)) for each in baselines]
    speeds = {point["types"]: point["speed"] for point in points if point.get("speed")}
    return {
        "points": [{**point, "speed": point.get("speed") or speeds.get(point["types"])} for point in points],
        "tokens": tokens,
    }


def measure_as_is(setting: Setting, candidate: Candidate) -> dict[str, Any]:
    """Write, time and score a reference without recovery."""
    model, types = candidate.extract(setting)
    return _describe(setting, candidate, model, types, recovered=False, timed=True)


def measure_weighted_stock(setting: Setting) -> dict[str, Any]:
    """Score the dense model in each stock type with importance weights of the calibration text."""
    importance = measure_column_importance(setting.model, setting.make_calibration())
    points = [measure_as_is(setting, each) for each in list_stock(setting, importance=importance)]
    return {"points": points}


def recover_stock(setting: Setting, stock: list[Candidate], *, rate: float) -> dict[str, Any]:
    """Recover the dense model as the result was, and score it in each stock type."""
    given = setting.config.recover
    assert given is not None
    model, _ = Candidate("dense", STOCK).extract(setting)
    recovered = recover_candidate(
        setting, model, steps=given.steps, rate=rate, checkpoint=setting.folder.path / FOLDER / "dense"
    )
    points = [
        _describe(setting, each, recovered.model, each.types or {}, recovered=True, timed=False)
        for each in stock
    ]
    return {"points": points, "tokens": recovered.tokens}


def recover_baseline(setting: Setting, candidate: Candidate, *, rate: float) -> dict[str, Any]:
    """Recover a baseline as the result was, and score it."""
    given = setting.config.recover
    assert given is not None
    model, types = candidate.extract(setting)
    place = setting.folder.path / FOLDER / candidate.name.replace(" ", "-")
    try:
        recovered = recover_candidate(setting, model, steps=given.steps, rate=rate, checkpoint=place)
    except (TrainingError, NonFiniteError) as error:
        logger.warning("%s: %s", candidate.name, error)
        return {"points": [], "tokens": getattr(error, "tokens", 0)}
    point = _describe(setting, candidate, recovered.model, types, recovered=True, timed=True)
    return {"points": [point], "tokens": recovered.tokens}


def _describe(
    setting: Setting,
    candidate: Candidate,
    model: Any,
    types: Mapping[str, str],
    *,
    recovered: bool,
    timed: bool,
) -> dict[str, Any]:
    """Write a reference to a file that is thrown away again, time it, and score it on the judging texts."""
    with tempfile.TemporaryDirectory(prefix=".reference-", dir=setting.folder.path) as place:
        path = Path(place) / "reference.gguf"
        written = write_gguf(
            model,
            setting.tokenizer,
            path,
            types=types,
            default_type=DEFAULT_TYPE,
            importance=candidate.importance,
        )
        speed = measure_file_speed(setting, path) if timed and setting.config.export.engine else None
    # The recovered dense model serves several types: it is rounded as a copy.
    losses = measure_rounded(
        setting,
        model,
        types,
        parts=setting.texts.judging,
        importance=candidate.importance,
        in_place=candidate.kind != STOCK,
    )
    name = f"{candidate.name}, recovered" if recovered else candidate.name
    logger.info(
        "%s: %.1f MB, loss %s", name, written.bytes / 1e6,
        ", ".join(f"{each.mean:.4f} ({part})" for part, each in losses.items()),
    )  # fmt: skip
    return {
        "name": name,
        "kind": candidate.kind,
        "recovered": recovered,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "parameters": int(describe_model(model)["parameters"]),
        "losses": {part: each.mean for part, each in losses.items()},
        "sequence_losses": {part: list(each.per_sequence) for part, each in losses.items()},
        "types": candidate.name,
        "speed": speed,
    }


def _keep(setting: Setting, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure a reference, or read what an interrupted start of the run has measured of it."""
    file = setting.folder.path / FOLDER / f"{name.replace(' ', '-')}.json"
    if not file.exists():
        write_json(file, measure())
    return read_object(file, keys=(), what="a reference", cost="it is measured again")
