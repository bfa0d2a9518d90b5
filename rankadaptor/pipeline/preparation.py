"""The first step of a run: load, prune, and measure the model before and after."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter import RankSpace, read_sizes, read_space
from rankadaptor.config import RunConfig
from rankadaptor.data import digest_rows
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import describe_model, digest_model, read_pruning, save_pruned
from rankadaptor.named_models import load
from rankadaptor.pipeline.data_split import split_data, tokenise_split
from rankadaptor.pipeline.execution import RAY, pick_execution
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.stored_files import check_pruned, claim_folder, digest_checkpoint, digest_weights
from rankadaptor.pruning import prune
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute, choose_compute, has_native_bfloat16
from rankadaptor.space import Space

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence

logger = logging.getLogger(__name__)


def pick_compute(config: RunConfig) -> Compute:
    """Choose device, precision and threads by the run file."""
    given = config.compute
    return choose_compute(
        device=given.device, dtype=given.dtype, threads=given.threads, quantise=config.quantise
    )


def make_recipe(config: RunConfig, space: Space) -> Recipe:
    """Return the run's recipe before tuning; all scaling exponents give the same scale at uniform's rank."""
    fields = config.recipe.model_dump(exclude={"tune"}) | {"learning_rate": config.learning_rate}
    ranks = read_sizes(space.reference())
    searched = [rank for slot, rank in zip(space.slots, ranks, strict=True) if slot.pinned is None]
    return Recipe(
        **fields,
        method=config.recover.method,
        reference_rank=max(searched or ranks) or max(ranks),
        steps=config.recover.steps,
    )


def build_space(config: RunConfig, model: Any) -> RankSpace:
    """Build the run's space over a pruned model."""
    given = config.space
    return RankSpace.from_model(
        model,
        like_uniform=given.like_uniform,
        parameters=given.parameters,
        megabytes=given.megabytes,
        slots=given.slots,
        ranks=tuple(given.ranks) if given.ranks else None,
        mode=given.mode,
        pinned=dict(given.pinned) if given.pinned else None,
        blocks=None if given.blocks is None else (given.blocks[0], given.blocks[1]),
    )


def load_space(folder: RunFolder, config: RunConfig) -> Space:
    """Build the space from the pruned checkpoint's configuration, without its weights."""

    def build() -> dict[str, Any]:
        model, _ = load(folder.pruned, compute=dataclasses.replace(pick_compute(config), quantise=None))
        return {"space": build_space(config, model).to_json()}

    return read_space(folder.complete("space", build)["space"])


def complete_preparation(folder: RunFolder, config: RunConfig, *, compute: Compute) -> dict[str, Any]:
    """Prune and measure the model, or read the result of an earlier start of the run.

    Raises:
        InputError: If the run began with other rows, on another kind of device (also of its trials on a
            cluster) or in another precision: earlier and later measurements could not be paired.
        CheckpointError: If the pruned model has changed since.
    """
    begun = folder.finished("prepare")
    prepared = folder.complete("prepare", lambda: prepare_model(folder, config, compute=compute))
    if begun:
        check_pruned(folder, prepared)
        if {"model", "train", "held_out"} <= set(prepared["digests"]):
            claim_folder(folder, prepared["digests"])
        _check_unchanged(prepared, folder, config, compute=compute)
    return prepared


def _check_unchanged(
    prepared: dict[str, Any], folder: RunFolder, config: RunConfig, *, compute: Compute
) -> None:
    train, held_out = split_data(config).load()
    now: dict[str, Any] = {
        "train": digest_rows(train),
        "held_out": digest_rows(held_out),
        **_describe_compute(config, compute),
    }
    then = {**prepared["digests"], **prepared.get("compute", {})}
    names = {
        "train": "training rows", "held_out": "held-out rows", "device": "device",
        "trial_device": "device of trials", "dtype": "precision",
    }  # fmt: skip
    changed = [
        f"{names[key]} {then[key]} → {value}" for key, value in now.items() if then.get(key, value) != value
    ]
    if changed:
        raise InputError(
            f"{folder.path} was begun with other data or on another machine: {', '.join(changed)}. "
            f"New trials could not be compared with those there.{_explain_precision(now, then, config)} "
            "Restore the earlier state, or begin anew: --fresh, or another output with --set output=FOLDER."
        )


def _explain_precision(now: dict[str, Any], then: dict[str, Any], config: RunConfig) -> str:
    """Explain why the automatic precision differs on this machine, and how to continue in that of the run."""
    before = then.get("dtype", now["dtype"])
    if before == now["dtype"] or config.compute.dtype != "auto":
        return ""
    native = has_native_bfloat16(device=now["device"])
    slower = "" if native else ", several times slower than float32"
    return (
        f" compute.dtype is auto, and this {'GPU' if now['device'] == 'cuda' else 'processor'} "
        f"{'has native bfloat16' if native else 'has no native bfloat16'}: --set compute.dtype={before} goes "
        f"on in the precision of the run{slower if before == 'bfloat16' else ''}."
    )


def describe_compute(prepared: dict[str, Any], compute: Compute) -> dict[str, Any]:
    """Describe the device and precision of a run: as its preparation noted, else as this start chose.

    Returns:
        `device`, `trial_device`, `dtype`, `quantise`, `threads` and `reason`.
    """
    noted = {key: value for key, value in prepared.get("compute", {}).items() if value is not None}
    return {"trial_device": compute.device, **dataclasses.asdict(compute), **noted}


def _describe_compute(config: RunConfig, compute: Compute) -> dict[str, str]:
    execution = pick_execution(config, compute)
    trials = execution.device if execution.executor == RAY else compute.device
    return {"device": compute.device, "trial_device": trials, "dtype": compute.dtype}


def prepare_model(folder: RunFolder, config: RunConfig, *, compute: Compute) -> dict[str, Any]:
    """Prune the model, save it, and measure held-out loss before and after.

    Everything is computed in full precision. If recovery uses a quantised model, the pruned loss is that of
    the saved model as recovery loads it.

    Returns:
        `pruning` (what was removed, costs before and after), `losses` (nats per token), `digests`, `compute`.
    """
    compute.apply()
    whole = dataclasses.replace(compute, quantise=None)
    model, tokenizer = load(config.model, compute=whole)
    train, held_out = split_data(config).load()
    # Training rows are read here too, so that their faults show before anything is pruned.
    _, sequences = tokenise_split(config, train, held_out, tokenizer, model=model)
    digests = {"train": digest_rows(train), "held_out": digest_rows(held_out)}
    if config.prune is None:
        digests["model"] = digest_model(model)
        claim_folder(folder, digests)
        save_pruned(model, tokenizer, folder.pruned)
        pruned_loss = _measure_saved(model, folder, sequences, compute=compute)
        described = describe_model(model)
        pruning = _describe_pruning(read_pruning(model) or {}, described, described)
        return {
            "pruning": pruning,
            "losses": {"pruned": pruned_loss},
            "digests": digests,
            "files": digest_checkpoint(folder.pruned),
            "compute": {**_describe_compute(config, compute), "reason": compute.reason},
        }
    before = describe_model(model)
    dense_loss = measure_loss(model, sequences, compute=compute).mean
    given = config.prune
    pruned = prune(
        model,
        tokenizer,
        ratio=given.ratio,
        calibration=given.calibration.source,
        importance=given.importance,
        aggregation=given.aggregation,
        scope=given.scope,
        targets=given.targets,
        head_unit=given.head_unit,
        skip_first=given.skip_first,
        skip_last=given.skip_last,
        align=given.align,
        examples=given.calibration.examples,
        length=given.calibration.length,
        seed=config.seed,
        in_place=True,
    )
    after = describe_model(pruned)
    digests["model"] = digest_model(pruned)
    claim_folder(folder, digests)
    save_pruned(pruned, tokenizer, folder.pruned)
    pruned_loss = _measure_saved(pruned, folder, sequences, compute=compute)
    logger.info("held-out loss %.4f dense, %.4f pruned (nats per token)", dense_loss, pruned_loss)
    return {
        "pruning": _describe_pruning(read_pruning(pruned) or {}, before, after),
        "losses": {"dense": dense_loss, "pruned": pruned_loss},
        "digests": digests,
        "files": digest_checkpoint(folder.pruned),
        "dense_files": digest_weights(config.model),
        "compute": {**_describe_compute(config, compute), "reason": compute.reason},
    }


def _measure_saved(
    model: Any, folder: RunFolder, sequences: Sequence[TokenSequence], *, compute: Compute
) -> float:
    if compute.quantise is not None:
        model, _ = load(folder.pruned, compute=compute)
    return measure_loss(model, sequences, compute=compute).mean


def _describe_pruning(
    record: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    summary = {
        "ratio": record.get("settings", {}).get("ratio"),
        "achieved_ratio": record.get("achieved_ratio", 0.0),
        "settings": record.get("settings", {}),
        "blocks": record.get("blocks", []),
    }
    for key in ("parameters", "macs", "bytes", "tokens_per_second"):
        summary[f"{key}_before"], summary[f"{key}_after"] = before.get(key), after.get(key)
    return summary
