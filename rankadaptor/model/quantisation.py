"""Frozen linears in 8 or 4 bits through bitsandbytes, for models that would not fit otherwise."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.requirements import BITSANDBYTES, load_package
from rankadaptor.runtime import QUANTISED

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PACKAGE = BITSANDBYTES.distribution
BLOCK = 64  # weights that share one scale


def make_quantisation(kind: str, *, widths: Mapping[str, int], dtype: torch.dtype | None, device: str) -> Any:
    """Return the transformers configuration that quantises a model's linears as they are read.

    `int8` is LLM.int8() [Int8]_: one scale per row, and outlier columns of the inputs are multiplied in
    float16. `nf4` is the 4-bit NormalFloat of [QLoRA]_ with doubly quantised scales; products are taken in
    `dtype`. The output embedding keeps its precision. With `nf4` on a CPU, so do linears whose input width is
    not a multiple of 64: bitsandbytes 0.50 misreads their scales (errors of 25 % instead of 9 %). Pruning
    with align=64 avoids such widths.

    Args:
        kind: `int8` or `nf4`.
        widths: Input features of every linear by name, without the output embedding.
        dtype: Precision of products and of everything that is not quantised; float32 by default.
        device: Device of the model.

    Raises:
        InputError: If the kind is unknown, bitsandbytes is missing, or it does not support the device.
    """
    if kind not in QUANTISED:
        raise InputError(f"quantise={kind!r}: allowed are None and {QUANTISED}.")
    served = frozenset(load_package(BITSANDBYTES).supported_torch_devices)
    import torch
    import transformers

    if torch.device(device).type not in served:
        raise InputError(
            f"quantise={kind!r}: the installed {PACKAGE} supports {', '.join(sorted(served)) or 'no device'}"
            f", not {device}. Install a build for this device, or leave quantise out."
        )
    # Hide a warning per linear and forward pass about an intended cast.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if kind == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    odd = [name for name, width in widths.items() if width % BLOCK and torch.device(device).type == "cpu"]
    if odd:
        logger.warning(
            "%d of %d linears stay in full precision: their input widths are not multiples of %d, which %s "
            "misreads on a CPU. Prune with align=%d to have all in 4 bits.",
            len(odd), len(widths), BLOCK, PACKAGE, BLOCK,
        )  # fmt: skip
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype or torch.float32,
        llm_int8_skip_modules=["lm_head", *map(re.escape, odd)],  # 4-bit loading reads this key as well
    )


def keep_unpacked(model: Any) -> None:
    """Keep 4-bit linears in the layout in which they were quantised, on every processor.

    On a processor with AVX512-BF16, bitsandbytes 0.50 repacks a linear's weights at the first forward pass in
    eval mode. Repacking fails for widths that are not multiples of 32. It is not undone for training, which
    then has no gradients, and merging an adapter misreads the repacked weights.

    Raises:
        InputError: If a linear has been packed already.
    """
    from bitsandbytes.nn.modules import Linear4bit

    linears: list[tuple[str, Any]] = [
        (name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit)
    ]
    for name, module in linears:
        if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
            raise InputError(
                f"{PACKAGE} has packed the 4-bit weights of {name} in a forward pass: adapters on them now "
                "get no gradients and merge wrongly. Load the model again with rankadaptor.load, or set "
                "support_avx512bf16_for_cpu = False on its Linear4bit modules before the first forward pass."
            )
        module.support_avx512bf16_for_cpu = False


def is_quantised(model: Any) -> bool:
    """Tell whether a model's linears are held in 8 or 4 bits."""
    return bool(getattr(model, "is_loaded_in_8bit", False) or getattr(model, "is_loaded_in_4bit", False))


def refuse_quantised(model: Any, *, verb: str) -> None:
    """Refuse to cut or save a quantised model.

    Raises:
        InputError: If it is quantised.
    """
    if is_quantised(model):
        raise InputError(
            f"A quantised model cannot be {verb}. Load it without quantise, prune and save it in full "
            "precision, then load the saved folder with quantise."
        )
