"""Derived models: a base model pruned and healed, stored as its changes and rebuilt where it is needed.

A folder of a derived model does not hold its weights, but `descendant.json`, `config.json` and
`healing.safetensors`: the blocks, heads and channels that were removed, and a low-rank update of every
remaining linear. That takes a tenth of the space and gives the same weights on every machine.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack_tensors

from rankadaptor.errors import CheckpointError
from rankadaptor.files import compute_digest, compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.kit.folders import ensure_folder
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.folder import DERIVED_FILE
from rankadaptor.model.identity import digest_model
from rankadaptor.model.saving import save_pruned
from rankadaptor.pruning.depth import remove_blocks
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.surgery import remove_groups
from rankadaptor.runtime import find_home

logger = logging.getLogger(__name__)

HEALING_FILE = "healing.safetensors"
SCHEMA = 1
BUILDING = 1  # increase it when the build changes, so that cached folders are built again
CUT_PREFIX = "removed."
PRECISION = torch.bfloat16


def read_derived_model(folder: Path) -> dict[str, Any]:
    """Read the description of a derived model: `name`, `base`, `removed_blocks`, `head_unit`, `digest`.

    Raises:
        CheckpointError: If this version cannot read the schema of the file.
    """
    facts = read_json(folder / DERIVED_FILE)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder / DERIVED_FILE}: not a derived model of schema {SCHEMA}. Copy the folder again."
        )
    return facts


def cut_model(
    model: Any,
    *,
    removed_blocks: Sequence[int] = (),
    removed_groups: Mapping[str, Sequence[int]] | None = None,
    head_unit: str = "kv_group",
) -> None:
    """Cut given heads, channels and blocks out of a whole model, in place.

    Args:
        model: The model; it keeps no record of the pruning, since a healed model is a base of its own.
        removed_blocks: Indices of the blocks to remove.
        removed_groups: `BLOCK.TARGET`, such as `3.channels` → indices of the groups to remove.
        head_unit: The unit of head groups: `kv_group` or `query_head`.
    """
    if removed_groups:
        groups = find_groups(model, head_unit=head_unit)
        remove_groups(model, groups, [tuple(removed_groups.get(f"{g.block}.{g.target}", ())) for g in groups])
    if removed_blocks:
        remove_blocks(model, removed_blocks)


def merge_healing(model: Any, healing: Mapping[str, torch.Tensor]) -> None:
    """Add the low-rank updates to the linears, and round the model to bfloat16.

    Sums are taken in float64: the last bits of a float32 product differ between processors; after the
    rounding the weights are equal.

    Args:
        model: The cut model in float32; changed in place.
        healing: `LINEAR.a` `(rank, in_features)` and `LINEAR.b` `(out_features, rank)`, scale included.
    """
    names = {name.rpartition(".")[0] for name in healing}
    with torch.no_grad():
        for name in sorted(names):
            weight = model.get_submodule(name).weight
            update = healing[f"{name}.b"].double() @ healing[f"{name}.a"].double()
            weight.copy_((weight.double() + update).to(weight.dtype))
        for parameter in model.parameters():  # not the buffers: loading does not round rotary frequencies
            parameter.data = parameter.data.to(PRECISION)


def write_derived_model(
    folder: Path,
    model: Any,
    *,
    name: str,
    base: str,
    healing: Mapping[str, torch.Tensor],
    removed_blocks: Sequence[int] = (),
    removed_groups: Mapping[str, Sequence[int]] | None = None,
    head_unit: str = "kv_group",
) -> None:
    """Write a derived model's folder.

    Args:
        folder: The folder to write.
        model: The finished model: cut, healed, rounded.
        name: Name of the model and of its folder in the cache.
        base: The base model: `kit:NAME`.
        healing: See `merge_healing`.
        removed_blocks: See `cut_model`.
        removed_groups: See `cut_model`.
        head_unit: See `cut_model`.
    """
    cuts = {
        f"{CUT_PREFIX}{key}": torch.tensor(indices, dtype=torch.int32)
        for key, indices in (removed_groups or {}).items()
    }
    weights = {key: tensor.to(PRECISION).contiguous() for key, tensor in healing.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / HEALING_FILE, pack_tensors({**weights, **cuts}))
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    write_json(
        folder / "config.json", config | {"architectures": [type(model).__name__], "dtype": "bfloat16"}
    )
    facts = {"removed_blocks": list(removed_blocks), "head_unit": head_unit, "digest": digest_model(model)}
    write_json(folder / DERIVED_FILE, {"schema": SCHEMA, "name": name, "base": base, **facts})


def build_derived_model(folder: Path, *, base: Path) -> Path:
    """Return the model folder of a derived model in the cache, building it first if needed (seconds).

    Args:
        folder: Holds `descendant.json` and `healing.safetensors`.
        base: Model folder of its base.

    Raises:
        CheckpointError: If a file is missing or damaged.
        StorageError: If the cache cannot be written.
    """
    facts = read_derived_model(folder)
    healing = folder / HEALING_FILE
    if not healing.is_file():
        raise CheckpointError(f"{healing}: missing. Copy the whole folder again.")
    digest = compute_digest({"facts": facts, "healing": compute_file_sha256(healing), "building": BUILDING})
    size = 2 * healing.stat().st_size / 1e6 + 400
    return ensure_folder(
        find_home() / "models" / str(facts["name"]),
        digest=digest,
        megabytes=size,
        fill=lambda content: _fill(content, folder, base, facts),
    )


def _fill(content: Path, folder: Path, base: Path, facts: dict[str, Any]) -> None:
    logger.info("building %s from %s and its healing (seconds, once)", facts["name"], facts["base"])
    try:
        tensors = load_file(folder / HEALING_FILE)
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / HEALING_FILE}: damaged or cut short ({error}). Copy it again."
        ) from error
    cuts = {key.removeprefix(CUT_PREFIX): tensors.pop(key).tolist() for key in [*tensors] if _is_cut(key)}
    model = load_checkpoint(base, dtype=torch.float32)
    cut_model(
        model, removed_blocks=facts["removed_blocks"], removed_groups=cuts, head_unit=facts["head_unit"]
    )
    merge_healing(model, tensors)
    if (found := digest_model(model)) != facts["digest"]:
        logger.warning(
            "%s: the weights built here (%s) are not those it was published with (%s); records measured on "
            "it may not repeat",
            facts["name"], found, facts["digest"],
        )  # fmt: skip
    save_pruned(model, None, content)
    for path in base.iterdir():
        if path.name.startswith(("tokenizer", "chat_template", "special_tokens", "vocab", "merges")):
            shutil.copyfile(path, content / path.name)


def _is_cut(key: str) -> bool:
    return key.startswith(CUT_PREFIX)
