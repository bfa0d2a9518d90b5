"""Identity of a model: digests of its weights, independent of its configuration and of folder names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

ROUNDED = (torch.float32, torch.bfloat16)
ADAPTER_PARTS = (
    ".lora_A.", ".lora_B.", ".lora_E.", ".lora_magnitude_vector.", ".ranknum.", ".ia3_l.", ".bottleneck_",
)  # fmt: skip
"""What names of tensors of an adapter contain, of any method."""
WRAPPED = ".base_layer"


@dataclass(frozen=True)
class BaseIdentity:
    """Identity of the weights that an adapter was trained on.

    Attributes:
        digest: Start of a SHA-256 over names, shapes and values. Float32 values are rounded to bfloat16
            first, so a model has the same digest in both.
        precision: Type of the weights: `float32 or bfloat16`, another torch type, or `int8` or `nf4` for a
            model with quantised linears.
    """

    digest: str
    precision: str

    def differs_from(self, other: BaseIdentity) -> bool:
        """Tell whether the two are different models; False where their precisions cannot be compared."""
        return self.precision == other.precision and self.digest != other.digest

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        return asdict(self)


def digest_model(model: Any) -> str:
    """Return a digest of a model's weights: the start of a SHA-256 over names, shapes, types and bytes.

    An attached adapter is included; see `digest_base` for the model under it.
    """
    return _digest(sorted(model.state_dict().items()))


def digest_base(model: Any) -> str:
    """Return the digest of a model's weights without its adapter: that of the bare model."""
    return _digest(sorted(_list_base_tensors(model)))


def identify_base(model: Any) -> BaseIdentity:
    """Return the identity of the model that an adapter on it belongs to; its adapter is ignored."""
    tensors = sorted(_list_base_tensors(model))
    return BaseIdentity(_digest((name, _round(value)) for name, value in tensors), _name_precision(model))


def forget_origin(model: Any) -> None:
    """Remove the name of a model's source, because its weights have changed since it was loaded."""
    model.name_or_path = ""
    model.config._name_or_path = ""


def holds_weights(folder: str | Path, model: Any) -> bool:
    """Tell whether a folder's safetensors files hold a model's weights, to the precision of bfloat16.

    An adapter on the model is ignored. Quantised weights cannot be compared with those on disk, so only
    names and unquantised tensors are compared. A folder without safetensors files is assumed to hold the
    weights.
    """
    files = sorted(Path(folder).glob("model*.safetensors"))
    if not files:
        return True
    tensors = dict(_list_base_tensors(model))
    found: set[str] = set()
    try:
        for path in files:
            with safe_open(path, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118, not a dict
                    value = tensors.get(name)
                    if value is None and "rotary_emb" in name:
                        continue  # older versions of transformers stored it
                    if value is None:
                        return False
                    if value.dtype.is_floating_point and not _agree(stored.get_tensor(name), value):
                        return False
                    found.add(name)
    except (OSError, SafetensorError):
        return False
    places = {tensors[name].data_ptr() for name in found}  # a tied embedding is stored once
    return bool(found) and all(
        name in found or value.data_ptr() in places
        for name, value in tensors.items()
        if name.endswith((".weight", ".bias"))
    )


def _agree(stored: torch.Tensor, value: torch.Tensor) -> bool:
    return torch.equal(_round(stored.to(value.dtype)), _round(value.detach().cpu()))


def _list_base_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name, value in inner.state_dict().items():
        if not any(part in name for part in ADAPTER_PARTS):
            yield name.replace(WRAPPED, ""), value


def _digest(tensors: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(content.numpy()))
    return digest.hexdigest()[:16]


def _round(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.bfloat16) if tensor.dtype in ROUNDED else tensor


def _name_precision(model: Any) -> str:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name in ("is_loaded_in_8bit", "is_loaded_in_4bit"):
        if getattr(inner, name, False):
            return "int8" if "8bit" in name else "4 bits"
    types = sorted({str(value.dtype).removeprefix("torch.") for _, value in _list_base_tensors(inner)})
    return "float32 or bfloat16" if set(types) <= {"float32", "bfloat16"} else " and ".join(types)
