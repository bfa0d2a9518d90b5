"""Checks of a model folder before any weight is read. No torch import.

`check_model_folder` says what cannot be loaded, and why: an adapter, a quantised model, a Git LFS pointer, a
GGUF file, weights that are missing or cut short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import read_json
from rankadaptor.model.families import find_family
from rankadaptor.model.prequantised import describe_packed_tensors, describe_quantisation
from rankadaptor.model.weight_files import (
    ADAPTER_CONFIG,
    check_whole,
    find_weights,
    read_header,
    refuse_stand_in,
)

CONFIG = "config.json"
DERIVED_FILE = "descendant.json"


def check_model_folder(folder: str | Path, *, weights: bool = True) -> dict[str, Any]:
    """Check that a folder holds a model that can be loaded and pruned, reading no weights.

    Only `config.json`, the weights' index and the headers of the weight files are read: it takes milliseconds
    for a model of any size.

    Args:
        folder: The folder; its weights may be safetensors or `pytorch_model.bin`, in one file or in shards. A
            folder with `descendant.json` needs no weight files.
        weights: Whether to check the weight files too.

    Returns:
        The content of `config.json`.

    Raises:
        CheckpointError: If the folder holds no such model. The message says what the folder holds instead and
            what to do.
        InputError: If the architecture is not supported.
    """
    folder = Path(folder).expanduser()
    config = read_config(folder)
    _refuse_quantised(folder, describe_quantisation(config))
    find_family(SimpleNamespace(config=SimpleNamespace(model_type=config.get("model_type"))))
    if weights and not (folder / DERIVED_FILE).is_file():
        check_weights(folder, config)
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's `config.json`.

    Raises:
        CheckpointError: If there is none, or none that is a JSON object.
    """
    file = folder / CONFIG
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "no such folder"
        raise CheckpointError(
            f"{folder}: {what}. Give the folder that save_pretrained wrote.{_name_gguf(folder)}"
        )
    if not file.is_file():
        raise CheckpointError(f"{folder}: {_describe_foreign(folder)}")
    refuse_stand_in(file)
    try:
        config = read_json(file)
    except ValueError as error:
        fault = str(error) if isinstance(error, InputError) else f"{file}: not UTF-8 text ({error})."
        raise CheckpointError(f"{fault} Copy or save the checkpoint again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: must hold a JSON object. Copy or save the checkpoint again.")
    return config


def check_weights(folder: Path, config: Mapping[str, Any] | None = None) -> None:
    """Check that every weight file of a checkpoint is there and whole, reading headers only.

    Raises:
        CheckpointError: If one is missing, cut short, or holds packed integers; the message names it.
    """
    found = find_weights(folder, config or {})
    for name in found.names:
        check_whole(folder / name)
    if not found.pickled:
        for name in found.names:
            _refuse_quantised(folder, describe_packed_tensors(read_header(folder / name) or {}))


def _refuse_quantised(folder: Path, how: str | None) -> None:
    if how is not None:
        raise CheckpointError(
            f"{folder}: already quantised ({how}), and packed weights can be neither pruned nor recovered "
            "here. Give the original model in full precision (float32, bfloat16 or float16). To save memory "
            "during recovery, set compute.quantise (load(..., quantise='nf4' or 'int8')). For a smaller "
            "deployment, quantise the recovered model at the end."
        )


def _describe_foreign(folder: Path) -> str:
    if (folder / ADAPTER_CONFIG).is_file():
        return _describe_adapter(folder)
    none = f"no {CONFIG} here."
    if found := _name_gguf(folder):
        return none + found
    if (folder / "params.json").is_file():
        return (
            f"{none} It has the form in which the model's makers publish it (params.json). Take the Hugging "
            "Face form of the same model, or convert it with transformers' convert_*_weights_to_hf.py."
        )
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if inside:
        return f"{none} Its subfolder {', '.join(inside[:3])} has one: give {folder / inside[0]}."
    return f"{none} Give the folder that save_pretrained wrote."


def _describe_adapter(folder: Path) -> str:
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8-sig")).get(
            "base_model_name_or_path"
        )
    except (ValueError, AttributeError):
        base = None
    named = f"It names {base!r} as its base" if base else "It does not name its base"
    model = repr(str(base)) if base else "'BASE'"
    return (
        f"an adapter ({ADAPTER_CONFIG}), not a model. {named}. Give the model it was trained on as the "
        f"model, and this folder as the adapter: rankadaptor evaluate RUN.yaml --model {base or 'BASE'} "
        f"--adapter {folder}, or in Python model, tokenizer = rankadaptor.load({model}) and "
        f"PeftModel.from_pretrained(model, {str(folder)!r})."
    )


def _name_gguf(folder: Path) -> str:
    files = [folder] if folder.suffix == ".gguf" else sorted(folder.glob("*.gguf"))
    if not files:
        return ""
    return (
        f" {files[0].name} is a GGUF file, made for llama.cpp from a model in Hugging Face form. Give the "
        "folder of that model: config.json, safetensors and tokenizer files."
    )
