"""Recognising checkpoints whose weights are quantised already. No torch import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Keys under which tools describe their quantisation; compressed-tensors has used the second.
KEYS = ("quantization_config", "compression_config")
# Keys for the number of bits, and methods that have a single number of bits.
BIT_KEYS = ("bits", "w_bit", "nbits", "num_bits", "weight_bits", "w_bits")
FIXED_BITS = {
    "fp8": 8, "fbgemm_fp8": 8, "mxfp8": 8, "eetq": 8, "mxfp4": 4, "nvfp4": 4, "bitnet": 1.58,
}  # fmt: skip
# Suffixes of tensor names that mark packed weights, and the methods that write them.
PACKED = {
    "qweight": "GPTQ or AWQ",
    "weight_packed": "compressed-tensors",
    "SCB": "bitsandbytes, 8 bits",
    "absmax": "bitsandbytes, 4 bits",
    "weight_scale": "scaled 8-bit weights",
    "weight_scale_inv": "FP8",
}
PACKED_TYPES = {"F8_E4M3": "FP8", "F8_E5M2": "FP8", "I8": "8-bit integers", "U8": "packed integers"}


def describe_quantisation(config: Mapping[str, Any]) -> str | None:
    """Describe how the model of a `config.json` is quantised: method and bits, or None if it is not.

    A `quantization_config` that is null or empty is ignored.
    """
    inner = config.get("text_config")
    places = [config, inner] if isinstance(inner, Mapping) else [config]
    given = next((place[key] for place in places for key in KEYS if place.get(key)), None)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return f"quantization_config is {given!r}"
    method = given.get("quant_method") or given.get("quant_algo")
    if not method and any(str(key).startswith(("load_in_", "bnb_")) for key in given):
        method = "bitsandbytes"
    bits = _find_bits(given, str(method).lower())
    named = str(method) if method else "by a method that its quantization_config does not name"
    return named + (f", {bits:g} bits" if bits is not None else "")


def describe_packed_tensors(header: Mapping[str, Any]) -> str | None:
    """Describe how the tensors of a safetensors header are quantised, or None if they are plain."""
    for name, entry in header.items():
        last = name.rpartition(".")[2]
        kind = PACKED.get(last) or (PACKED_TYPES.get(str(entry["dtype"])) if last == "weight" else None)
        if kind is not None:
            return f"{kind}: tensor {name} is of type {entry['dtype']}"
    return None


def _find_bits(given: Mapping[str, Any], method: str) -> float | None:
    if given.get("load_in_4bit") or given.get("_load_in_4bit"):
        return 4
    if given.get("load_in_8bit") or given.get("_load_in_8bit"):
        return 8
    found = [bits for bits in _list_bits(given) if bits is not None]
    return min(found) if found else FIXED_BITS.get(method)


def _list_bits(value: Any) -> Iterator[float]:
    if not isinstance(value, Mapping):
        return
    for key, entry in value.items():
        if key in BIT_KEYS and isinstance(entry, int | float) and not isinstance(entry, bool):
            yield float(entry)
        elif key not in ("input_activations", "output_activations", "kv_cache_scheme"):
            yield from _list_bits(entry)
