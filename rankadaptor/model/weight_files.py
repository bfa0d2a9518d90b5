"""Find the weight files of a checkpoint and check that each is complete. No torch import."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.errors import CheckpointError
from rankadaptor.files import read_json

ADAPTER_CONFIG = "adapter_config.json"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
PRECISIONS = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # widest first
POINTER = b"version https://git-lfs"
# File names that transformers uses for a model's own weights, without adapters.
_OWN = re.compile(
    r"(model(-\d{5}-of-\d{5})?\.safetensors|pytorch_model(-\d{5}-of-\d{5})?\.bin)(\.index\.json)?"
)
_OTHER_FORMATS = {
    "*.gguf": "GGUF",
    "flax_model*.msgpack": "Flax",
    "tf_model*.h5": "TensorFlow",
    "*.pth": "PyTorch's",
}


@dataclass(frozen=True)
class WeightFiles:
    """The files that hold a model's weights.

    Attributes:
        names: File names, ascending.
        pickled: Whether they are `.bin` files and not safetensors.
    """

    names: tuple[str, ...]
    pickled: bool


def is_own_weight(name: str) -> bool:
    """Say whether transformers writes a model's own weights, or their index, under this file name."""
    return _OWN.fullmatch(name) is not None


def find_weights(folder: Path, config: Mapping[str, Any]) -> WeightFiles:
    """Find the weight files that plain transformers would read, in its order of preference.

    The order is: `transformers_weights` of `config.json`, `model.safetensors`, its shards by their index,
    `pytorch_model.bin`, and its shards. So an index beside a complete `model.safetensors` is ignored.

    Raises:
        CheckpointError: If there is none, or the index is not usable.
    """
    named = config.get("transformers_weights")
    candidates = [str(named)] if named else [SAFE, SAFE + INDEX, PICKLED, PICKLED + INDEX]
    for name in candidates:
        if (folder / name).is_file():
            pickled = ".bin" in name
            return WeightFiles(_read_index(folder / name) if name.endswith(INDEX) else (name,), pickled)
    for name in candidates:
        _refuse_broken_link(folder / name)
    raise CheckpointError(f"{folder / candidates[0]}: missing. {_advise_on_missing(folder)}")


def _read_index(file: Path) -> tuple[str, ...]:
    refuse_stand_in(file)
    try:
        names = {str(name) for name in read_json(file)["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: not a usable index of weights ({error!r}). Copy or save the checkpoint again."
        ) from error
    if not names:
        raise CheckpointError(f"{file}: names no weight file. Copy or save the checkpoint again.")
    return tuple(sorted(names))


def _advise_on_missing(folder: Path) -> str:
    again = "Copy the whole folder, or save the model again."
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    shards = [name for name in others if is_own_weight(name)]
    adapters = [name for name in others if name.startswith("adapter_")]
    foreign = [name for name in others if name not in shards and name not in adapters]
    if shards:
        return f"Shards such as {shards[0]} are there, but {SAFE}{INDEX}, which lists them, is not. {again}"
    if "consolidated.safetensors" in foreign:
        return "consolidated.safetensors has Mistral's own layout. Download the files in Hugging Face format."
    if len(foreign) == 1:
        return f"If {foreign[0]} holds the whole model, rename it to {SAFE}."
    if foreign:
        return f"Files of other names are not read ({', '.join(foreign[:3])}). {again}"
    for pattern, name in _OTHER_FORMATS.items():
        if found := sorted(path.name for path in folder.glob(pattern)):
            return (
                f"{found[0]} is in {name} format, which is not supported. Use the model's safetensors, or "
                "convert it with transformers (from_pretrained, then save_pretrained)."
            )
    if adapters or (folder / ADAPTER_CONFIG).is_file():
        return f"The folder holds an adapter without the weights of its model. {again}"
    return again


def _refuse_broken_link(path: Path) -> None:
    """Refuse a broken link, as in a hub cache whose blobs were deleted."""
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path}: a link to {path.readlink()}, which does not exist. Copy the folder with the targets of "
            "its links (cp -rL), or download it again."
        )


def refuse_stand_in(path: Path) -> None:
    """Refuse a placeholder of a file: a Git LFS pointer, or a web page with an error.

    Raises:
        CheckpointError: If it is one, or the file is empty.
    """
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(POINTER):
        raise CheckpointError(
            f"{path}: a Git LFS pointer, not the file itself: the repository was cloned without its "
            "large files. Run `git lfs install` and `git lfs pull` in it, or download it with `hf download`."
        )
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise CheckpointError(
            f"{path}: a web page, not the file itself. Download the file, not the page about it, for example "
            "with `hf download`."
        )


def check_whole(path: Path) -> None:
    """Check that a weight file exists and has the length that its header gives.

    Raises:
        CheckpointError: If it is missing, cut short, or does not have the format of its name.
    """
    if not path.is_file():
        _refuse_broken_link(path)
        raise CheckpointError(f"{path}: missing. Copy the whole folder, or save the model again.")
    refuse_stand_in(path)
    if path.suffix == ".bin":
        wanted = None if _is_whole_pickle(path) else "it is no whole file of torch.save"
    else:
        header, found = read_header(path), path.stat().st_size
        needed = None if header is None else _compute_size(path, header)
        wanted = None if found == needed else f"{needed} bytes expected, {found} found"
        if needed is None:
            wanted = "its header is not readable"
    if wanted is not None:
        raise CheckpointError(f"{path}: damaged or cut short ({wanted}). Copy or save it again.")


def _is_whole_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(2)
    # Since torch 1.6 the format is a zip archive, whose directory is at the end; before it was a plain
    # stream.
    return zipfile.is_zipfile(path) if start == b"PK" else start[:1] == b"\x80"


def read_header(path: Path) -> dict[str, Any] | None:
    """Read the header of a safetensors file: tensor name → `dtype`, `shape`, `data_offsets`.

    Returns:
        The header without its metadata, or None if it cannot be read.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if 8 + length > path.stat().st_size:
            return None
        try:
            header = json.loads(stream.read(length))
            entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
            _ = [(entry["dtype"], entry["data_offsets"][1] + 0) for entry in entries.values()]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return None
    return entries


def find_precision(folder: Path, files: WeightFiles, config: Mapping[str, Any]) -> str | None:
    """Name the widest precision that a checkpoint's weights are stored in, as torch does.

    Returns:
        For example `bfloat16`; None if it is unknown. For `.bin` files it is read from `config.json`.
    """
    if files.pickled:
        named = config.get("dtype") or config.get("torch_dtype")
        return str(named) if named in PRECISIONS.values() else None
    entries = [entry for name in files.names for entry in (read_header(folder / name) or {}).values()]
    found = {entry["dtype"] for entry in entries}
    return next((precision for kind, precision in PRECISIONS.items() if kind in found), None)


def _compute_size(path: Path, header: Mapping[str, Any]) -> int:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    return 8 + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
