"""Save pruned checkpoints: safetensors, `config.json`, and a modelling file for uneven blocks."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rankadaptor.errors import InputError, StorageError
from rankadaptor.files import name_storage_fault, read_json, write_json, write_text
from rankadaptor.model.blocks import MODELLING_FILE, explain_modelling, write_modelling
from rankadaptor.model.checkpoint import quiet_transformers
from rankadaptor.model.families import find_family
from rankadaptor.model.folder import CONFIG, DERIVED_FILE
from rankadaptor.model.precision import choose_precision, convert_weights
from rankadaptor.model.quantisation import refuse_quantised
from rankadaptor.model.replacement import make_beside, replace_folder
from rankadaptor.model.weight_files import is_own_weight

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

GENERATION = "generation_config.json"


def save_pruned(
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    max_shard_size: int | str = "5GB",
) -> Path:
    """Write a model, pruned or not, so that `rankadaptor.load` restores a model with equal logits.

    Everything is written into a temporary folder first, which then replaces the target: an existing
    checkpoint stays complete until then, even if the disk is full or the process is killed. In an existing
    checkpoint only the files of the model itself are replaced, old shards and `pytorch_model*.bin` included;
    adapters, subfolders and all other files are kept.

    Args:
        model: A supported causal language model without adapters.
        tokenizer: Its tokenizer, or None.
        folder: The target; its parents are created.
        dtype: Precision of the saved weights: `float32`, `bfloat16`, `float16`. By default that of the folder
            they were loaded from if it rounds nothing, otherwise that of the model in memory; if the two
            differ, the log says which was chosen.
        max_shard_size: Size of one safetensors file at most, in bytes or as "5GB".

    Returns:
        The folder.

    Raises:
        InputError: If `folder` holds something that is not a checkpoint, the model carries an adapter or is
            quantised, or a number is beyond the range of `dtype`.
        StorageError: If it cannot be written.
    """
    find_family(model)
    refuse_quantised(model, verb="saved")
    goal = Path(folder)
    if getattr(model, "peft_config", None):
        raise InputError(
            "The model carries an adapter. Save the adapter with its save_pretrained, or merge it first."
        )
    with name_storage_fault(goal):
        place = goal.expanduser().resolve()  # a link is kept, its target is replaced
        _check_goal(place)
        precision = choose_precision(model, dtype)
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = make_beside(place)
        try:
            with quiet_transformers():
                _write(model, tokenizer, fresh, precision=precision, max_shard_size=max_shard_size)
            replace_folder(fresh, place, is_stale=_is_of_model)
        except SafetensorError as error:
            raise StorageError(
                f"{goal}: the weights cannot be written ({error}). The old content is unchanged. "
                "Free space or choose another folder, then run the same command again."
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    model.name_or_path = str(place)  # adapters saved from now on name this folder as their base
    return goal


def _check_goal(folder: Path) -> None:
    foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file()
    if folder.is_file() or foreign:
        raise InputError(
            f"{folder}: exists and is not a checkpoint (no {CONFIG}). Choose a new or an empty folder."
        )
    if (folder / DERIVED_FILE).is_file():
        raise InputError(
            f"{folder}: holds a derived model ({DERIVED_FILE}), which would be loaded in place of the "
            "saved weights. Choose another folder."
        )


def _is_of_model(name: str) -> bool:
    """Say whether a file of this name is a model's weights or configuration, not its tokenizer's."""
    return name in (CONFIG, GENERATION, MODELLING_FILE) or is_own_weight(name)


def _write(
    model: Any, tokenizer: Any, folder: Path, *, precision: torch.dtype | None, max_shard_size: int | str
) -> None:
    weights = None if precision is None else convert_weights(model, precision)
    model.save_pretrained(folder, state_dict=weights, max_shard_size=max_shard_size)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    config = read_json(folder / CONFIG)
    config.pop("auto_map", None)
    config["architectures"] = [type(model).__name__.removeprefix("Pruned")]
    if precision is not None:
        config["dtype"] = str(precision).removeprefix("torch.")
    (folder / MODELLING_FILE).unlink(missing_ok=True)
    if config.get("per_layer_config"):
        text, references = write_modelling(model)
        write_text(folder / MODELLING_FILE, text)
        config["auto_map"] = references
        logger.info(
            "plain transformers loads this model only with trust_remote_code=True (%s): %s beside the "
            "weights builds its blocks; rankadaptor.load does not need this",
            explain_modelling(model),
            MODELLING_FILE,
        )
    write_json(folder / CONFIG, config)
