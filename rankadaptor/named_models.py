"""Models and tokenizers by name: from the kit, from a folder, or from a hub."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import CheckpointError
from rankadaptor.files import plain_texts
from rankadaptor.model.folder import DERIVED_FILE, read_config
from rankadaptor.model.tokenizer_folder import read_tokenizer
from rankadaptor.runtime import Compute, choose_compute

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

KIT_PREFIX = "kit:"
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # whatever else is no folder is a path that is not there
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
HUB_PICKLES = ["pytorch_model*.bin"]  # fetched where there are no safetensors


def load(
    source: str | Path,
    *,
    compute: Compute | None = None,
    quantise: str | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Folders with uneven pruned blocks load without running any code from the folder.

    Args:
        source: `kit:NAME`, a folder that `save_pruned` or `save_pretrained` wrote, or a hub id.
        compute: Device and precision; None chooses them (see `choose_compute`).
        quantise: `int8` or `nf4`: hold the frozen linears of the blocks in 8 or 4 bits (needs bitsandbytes).
            By default as `compute` says. Prune first: a quantised model cannot be pruned or saved, only
            recovered and evaluated.
        weights: The weights, where `source` is a folder that holds all but them.

    Returns:
        The model in eval mode on its device, and its tokenizer.

    Raises:
        CheckpointError: If the source is not there, broken, or the hub cannot be reached.
        InputError: If the architecture is not supported, or bitsandbytes is missing or does not serve it.
    """
    from rankadaptor.model.checkpoint import load_checkpoint

    compute = compute or choose_compute()
    compute.apply()
    folder = find_model_folder(source)
    quantise = quantise or compute.quantise
    with plain_texts(folder) as readable:
        model = load_checkpoint(
            readable, dtype=compute.torch_dtype, device=compute.device, quantise=quantise, weights=weights
        )
    # A folder is known by its own name, not by where it lies: records travel, folders do not.
    model.config._name_or_path = str(source) if not Path(source).is_dir() else Path(source).resolve().name
    # Adapters name where their base is found: its folder, or the hub id.
    hub = not Path(source).expanduser().is_dir() and not str(source).startswith(KIT_PREFIX)
    model.name_or_path = str(source) if hub else str(folder.resolve())
    stored = compute.dtype if quantise is None else f"{quantise} and {compute.dtype}"
    _tell_once(f"{source}: {model.num_parameters()} parameters on {compute.device} in {stored}")
    return model, load_tokenizer(folder)


@functools.cache
def _tell_once(message: str) -> None:
    """Log what each step of a run would repeat."""
    logger.info(message)


def load_tokenizer(source: str | Path) -> Any:
    """Load the tokenizer of a source; see `load`. A missing padding token becomes the end token.

    Raises:
        CheckpointError: If there is none, it is damaged, or a package is missing that reads it.
    """
    folder = find_model_folder(source)
    tokenizer = read_tokenizer(folder)
    tokenizer.name_or_path = str(folder)  # of a copy where files had to be converted
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def find_model_folder(source: str | Path) -> Path:
    """Return the folder of a source, fetching it if its name is `kit:NAME` or a hub id.

    A folder that holds a derived model is built into a model in the cache first; see `build_derived_model`.

    Raises:
        CheckpointError: If it cannot be found, fetched or built.
    """
    name = str(source)
    if name.startswith(KIT_PREFIX):
        from rankadaptor.kit import ensure_model

        return ensure_model(name.removeprefix(KIT_PREFIX))
    if (folder := Path(source).expanduser()).is_dir():
        return _find_derived_model(folder) if (folder / DERIVED_FILE).is_file() else folder
    if folder.is_file():
        read_config(folder)  # says what to give in place of a file
    if isinstance(source, Path) or not _HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"{name}: no such folder. Give a folder with config.json, a hub id such as 'org/name', or "
            "'kit:smollm2-135m'."
        )
    return _fetch(name)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    unwanted = ["*/*", "consolidated*"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns=unwanted))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(name, allow_patterns=HUB_PICKLES, ignore_patterns=unwanted)
        return folder
    except Exception as error:  # the hub client raises a dozen unrelated classes, all meaning: not fetched
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{name}: not fetched from the model hub ({reason}). Check name and network, give a folder "
            "with config.json, or use 'kit:smollm2-135m', which comes from the package index."
        ) from error


def _find_derived_model(folder: Path) -> Path:
    from rankadaptor.pruning.derived_models import build_derived_model, read_derived_model

    return build_derived_model(folder, base=find_model_folder(str(read_derived_model(folder)["base"])))
