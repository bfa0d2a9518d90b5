"""Pruned checkpoints on disk: safetensors, `config.json`, and for uneven blocks a modelling file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from rankadaptor.errors import CheckpointError, InputError, StorageError
from rankadaptor.files import name_storage_fault, read_json, write_json, write_text
from rankadaptor.pruning.blocks import MODELLING_FILE, per_layer_blocks, write_modelling
from rankadaptor.pruning.families import find_family


def digest_model(model: Any) -> str:
    """Name a model's weights: the start of the SHA-256 over names, shapes, precisions and bytes, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        content = (
            tensor.detach().cpu().contiguous().view(torch.uint8) if tensor.ndim else tensor.cpu().reshape(1)
        )
        digest.update(memoryview(content.view(torch.uint8).flatten().numpy()))
    return digest.hexdigest()[:16]


def save_pruned(model: Any, tokenizer: Any, folder: str | Path) -> Path:
    """Write a model, pruned or not, so that `load` gives back equal logits.

    Everything is written into a temporary folder beside the goal first and then renamed, so a checkpoint that was
    there before survives a full disk. Other files in an existing checkpoint folder are kept.

    Args:
        model: A supported causal language model without adapters.
        tokenizer: Its tokenizer, or None.
        folder: Where to; its parents are created.

    Returns:
        The folder.

    Raises:
        InputError: If `folder` holds something that is not a checkpoint, or the model carries an adapter.
        StorageError: If it cannot be written.
    """
    find_family(model)
    folder = Path(folder)
    if getattr(model, "peft_config", None):
        raise InputError(
            "The model carries an adapter. Save that with its own save_pretrained, or merge it first."
        )
    if (
        folder.exists()
        and not (folder / "config.json").is_file()
        and (folder.is_file() or any(folder.iterdir()))
    ):
        raise InputError(
            f"{folder}: exists and is not a checkpoint (no config.json). Choose a new or empty folder."
        )
    with name_storage_fault(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _write(model, tokenizer, fresh)
            _swap(fresh, folder)
        except SafetensorError as error:
            raise StorageError(
                f"{folder}: the weights cannot be written ({error}). What was there before is untouched. Free space "
                "or choose another folder, then run the same command again."
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    config = read_json(folder / "config.json")
    config.pop("auto_map", None)
    config["architectures"] = [type(model).__name__.removeprefix("Pruned")]
    (folder / MODELLING_FILE).unlink(missing_ok=True)
    if config.get("per_layer_config"):
        text, reference = write_modelling(model)
        write_text(folder / MODELLING_FILE, text)
        config["auto_map"] = {"AutoModelForCausalLM": reference}
    write_json(folder / "config.json", config)
    folder.chmod(0o755)


def _swap(fresh: Path, folder: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    old = fresh.with_name(fresh.name + ".old")
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    for entry in old.iterdir():
        stale = entry.name == MODELLING_FILE or ".safetensors" in entry.name
        if not stale and not (folder / entry.name).exists():
            entry.rename(folder / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: str | Path, *, dtype: torch.dtype | None = None) -> Any:
    """Load a folder written by `save_pruned` or `save_pretrained`, uneven blocks included.

    No code from the folder is run.

    Args:
        folder: Holds `config.json` and safetensors files.
        dtype: Precision to load in; None for the one saved.

    Returns:
        The model in eval mode on the CPU, an ordinary transformers class.

    Raises:
        CheckpointError: If a file is missing, cut short, or does not fit the configuration; the message names it.
        InputError: If the architecture is not supported.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: no config.json here. Give the folder that save_pretrained wrote.")
    check_weights(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: cannot be read ({error}). Save or fetch it again."
        ) from error
    find_family(_Configured(config))
    config.__dict__.pop("auto_map", None)
    model_class = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type])
    uneven = per_layer_blocks(model_class) if config.is_heterogeneous else contextlib.nullcontext()
    try:
        with uneven:
            model, report = model_class.from_pretrained(
                folder, config=config, dtype=dtype or "auto", use_safetensors=True, output_loading_info=True
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the weights do not load ({error}). Save or fetch them again."
        ) from error
    faults = [
        f"{kind}: {sorted(map(str, report[kind]))[:3]}"
        for kind in ("missing_keys", "mismatched_keys", "unexpected_keys")
        if report.get(kind)
    ]
    if faults:
        raise CheckpointError(
            f"{folder}: weights and config.json do not belong together ({'; '.join(faults)}). Save the model again."
        )
    return model.eval()


class _Configured:
    def __init__(self, config: Any) -> None:
        self.config = config


def check_weights(folder: Path) -> None:
    """Check that every safetensors file of a checkpoint is there and whole, reading headers only.

    Raises:
        CheckpointError: If one is missing or cut short; the message names it.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index)["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing. Copy the whole folder, or save the model again.")
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(length)) if 8 + length <= size else None
            except ValueError:
                header = None
        needed = None
        if isinstance(header, dict):
            needed = (
                8
                + length
                + max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
            )
        if needed != size:
            wanted = "an unreadable header" if needed is None else f"{needed} bytes expected, {size} found"
            raise CheckpointError(f"{path}: damaged or cut short ({wanted}). Copy or save it again.")
