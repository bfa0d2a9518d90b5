"""Adapted linears whose weight, adapter included, is rounded to a type of the file in every forward pass.

The forward pass uses W' + (round(W') − W'), with W' = W + mask ⊙ (s·BA), and gradients pass through the
rounding as if it were not there [Bengio2013]_. What is trained is then what the file holds, as in
QA-SparsePEFT [SQFT]_; an adapter that was trained without rounding knows nothing of its errors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_adapters_to_merge

from rankadaptor.components.precision.fixed_scales import FixedScales, choose_rounding
from rankadaptor.components.precision.rounding import Rounding, check_fit, find_rounding, keeps_zeros
from rankadaptor.errors import InputError
from rankadaptor.methods import FIXED, SCALES

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger(__name__)

SPARSE = 0.1
"""Share of zeros from which a matrix counts as sparse."""


@dataclass
class WeightRounding:
    """How one adapted linear's weight is rounded, and the last result.

    Attributes:
        type: A name that `find_rounding` knows.
        mask: `(out, in)`, False where the weight stays zero; None for dense matrices.
    """

    type: str
    mask: torch.Tensor | None
    _round: Rounding = field(repr=False)
    _seen: tuple[torch.Tensor, ...] = field(default=(), repr=False)
    _kept: torch.Tensor | None = field(default=None, repr=False)

    def store(self, exact: torch.Tensor) -> torch.Tensor | None:
        """Return W' as a file gives it back; None if packing that would change it."""
        if isinstance(self._round, FixedScales):  # packing keeps the scales of what lies on their levels
            return self._round(exact)
        return choose_stored(exact, self.type)

    def update(self, layer: RoundedLinear) -> torch.Tensor:
        """Return the rounded weight of a layer, computed again only if its adapter has changed."""
        down, up, base = layer.list_tensors()
        if self.mask is not None:
            self.mask = self.mask.to(base.device)
        if self._kept is not None and self._kept.device != base.device:
            self._kept = None
        # Values are compared: the fused optimiser does not count up the versions of its parameters.
        if self._kept is None or not all(map(torch.equal, self._seen, (down, up))):
            self._kept = self._round(layer.add_adapter()).to(base.dtype)
            self._seen = (down.detach().clone(), up.detach().clone())
        return self._kept


class RoundedLinear(LoraLinear):  # type: ignore[misc]
    """A LoRA linear that multiplies by its rounded weight; made of a plain one by `round_adapted`."""

    rounding: WeightRounding

    def read_rounded(self) -> torch.Tensor:
        """Return the rounded weight, `(out, in)`, in the base weight's precision.

        It is computed again only after the adapter has changed: once per optimiser step.
        """
        return self.rounding.update(self)

    @torch.no_grad()
    def add_adapter(self) -> torch.Tensor:
        """Return W' in float32, bit for bit what PEFT's own merge makes of a float32 model."""
        down, up, base = self.list_tensors()
        update = (up @ down) * self.scaling[self.active_adapters[0]]
        if self.rounding.mask is not None:
            update *= self.rounding.mask.to(update.device)
        merged: torch.Tensor = base.float() + update
        return merged

    def forward(self, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        """Multiply by the rounded weight."""
        if self.disable_adapters or self.merged:
            plain: torch.Tensor = super().forward(x, *args, **given)
            return plain
        down, up, base = self.list_tensors()
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.dtype
        bias = None if self.base_layer.bias is None else self.base_layer.bias.to(dtype)
        rounded = self.read_rounded()
        if base.requires_grad:  # someone wants its gradient, not the adapter's
            return F.linear(x.to(dtype), (base + (rounded - base).detach()).to(dtype), bias)
        scale = float(self.scaling[self.active_adapters[0]])
        found: torch.Tensor = _StraightThrough.apply(  # type: ignore[no-untyped-call]
            x.to(dtype), rounded.to(dtype), bias, down, up, scale, self.rounding.mask
        )
        return found

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002
        """Replace the base weight by the one that was trained.

        A file in its type holds that weight: packing leaves what lies on fixed scales as it is, and most
        types round their own output to itself. Where one does not, W' is kept instead, whose rounding is what
        was trained.
        """
        names = check_adapters_to_merge(self, adapter_names)
        if not names:
            return
        weight = self.base_layer.weight
        exact = self.add_adapter()
        kept = self.rounding.store(exact)
        weight.data = (exact if kept is None else kept).to(weight.dtype)
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Refuse: a rounded weight cannot be taken apart.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "An adapter that was trained through a quantiser cannot be unmerged: its weight has been "
            "rounded. Load the base model again."
        )

    def list_tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return A, B and the base weight."""
        name = self.active_adapters[0]
        return self.lora_A[name].weight, self.lora_B[name].weight, self.base_layer.weight


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.scale = scale
        ctx.save_for_backward(inputs, weight, down, up, mask)
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, down, up, mask = ctx.saved_tensors
        gradient = upstream[0].to(weight.dtype)
        back = gradient @ weight if ctx.needs_input_grad[0] else None
        rows, outputs = inputs.reshape(-1, inputs.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        down_gradient, up_gradient = differentiate_adapter(
            rows, outputs, down, up, scale=ctx.scale, mask=mask
        )
        return back, None, None, down_gradient, up_gradient, None, None


def differentiate_adapter(
    inputs: torch.Tensor,
    gradient: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    *,
    scale: float,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of A and B when W + mask ⊙ (s·BA) multiplies `inputs`, `(tokens, in)`.

    A mask needs the gradient of the whole matrix, as many products again as the forward pass.
    """
    if mask is not None:
        whole = (gradient.t() @ inputs).to(up.dtype).mul_(mask)
        return (up.t() @ whole).mul_(scale), (whole @ down.t()).mul_(scale)
    kind = gradient.dtype
    low, back = inputs @ down.to(kind).t(), (gradient @ up.to(kind)).mul_(scale)
    up_gradient = (low.t() @ gradient).t().to(up.dtype, memory_format=torch.contiguous_format)
    return (back.t() @ inputs).to(down.dtype), up_gradient.mul_(scale)


def choose_stored(exact: torch.Tensor, kind: str) -> torch.Tensor | None:
    """Return a matrix as a type gives it back if it rounds that to itself; else None."""
    rounding = find_rounding(kind)
    rounded = rounding(exact)
    return rounded if torch.equal(rounding(rounded), rounded) else None


def round_adapted(
    peft_model: PeftModel,
    types: Mapping[str, str],
    *,
    keep_zeros: bool | None = None,
    scales: str = FIXED,
) -> None:
    """Let a model with an adapter be, in training and afterwards, what a file in these types holds.

    Adapted linears round their weight with the adapter; every other matrix that is named, such as the
    embedding, is rounded once. What is named by no type stays as it is.

    Args:
        peft_model: A model with a LoRA adapter, from `attach_adapter`. Its own weights are replaced, never
            changed in place.
        types: Type of each matrix by module name, as `write_gguf` takes them; also affine grids and
            bitsandbytes' `int8` and `nf4`.
        keep_zeros: Whether weights of zero stay zero; None keeps them in matrices of which a tenth or more is
            zero, if their type has a level at zero.
        scales: `fixed` keeps the scales that the weights have in their types now; `derived` derives them from
            the weights each time. Types without fixed scales take derived ones.

    Raises:
        InputError: If `scales` is neither, a module is unknown, its rows do not fit its type, its type has no
            zero to keep, or its adapter is no plain LoRA without dropout.
    """
    if scales not in SCALES:
        raise InputError(f"scales={scales!r}: allowed are {' and '.join(SCALES)}.")
    configs = getattr(peft_model, "peft_config", {}).values()
    if not configs or any(type(config) is not LoraConfig for config in configs):
        raise InputError(
            "types were given to train through their rounding, which needs an adapter of plain LoRA on every "
            "linear. Take method='lora' or 'rslora', or leave types out and quantise afterwards."
        )
    model = peft_model.get_base_model()
    modules = dict(model.named_modules())
    if unknown := sorted(name for name in types if getattr(modules.get(name), "weight", None) is None):
        raise InputError(
            f"types: the model has no matrix called {', '.join(unknown[:3])}. Names are those of the Hugging "
            "Face model, such as model.layers.0.mlp.up_proj or model.embed_tokens."
        )
    for name, kind in types.items():
        check_fit(kind, modules[name].weight.shape[-1], module=name)
    exact: dict[str, torch.Tensor] = {}
    for name, kind in types.items():
        module = modules[name]
        if not isinstance(module, LoraLayer):
            _round_frozen(model, name, kind, exact)
            continue
        _check_plain(module, name)
        mask = _find_mask(module.base_layer.weight, kind, keep_zeros=keep_zeros, module=name)
        module.__class__ = RoundedLinear
        module.rounding = WeightRounding(
            kind, mask, choose_rounding(kind, module.base_layer.weight, scales=scales)
        )
    peft_model.rounded_types = dict(types)
    peft_model.rounded_scales = scales
    peft_model.unrounded = exact


def restore_unrounded(peft_model: Any, merged: Any) -> None:
    """Give frozen matrices whose type does not round its own output to itself their exact weights back."""
    for name, weight in getattr(peft_model, "unrounded", {}).items():
        _replace(merged, merged.get_submodule(name).weight, weight)


def _round_frozen(model: Any, name: str, kind: str, exact: dict[str, torch.Tensor]) -> None:
    weight = model.get_submodule(name).weight
    values = weight.detach().float()
    stored = choose_stored(values, kind)
    if stored is None:
        exact[name] = weight.detach()
        stored = find_rounding(kind)(values)
    _replace(model, weight, stored.to(weight.dtype))


def _replace(model: Any, old: torch.Tensor, new: torch.Tensor) -> None:
    """Replace a weight, also where it is tied."""
    fresh = torch.nn.Parameter(new, requires_grad=False)
    for module in model.modules():
        if getattr(module, "weight", None) is old:
            module.weight = fresh


def _check_plain(module: Any, name: str) -> None:
    fault = None
    if type(module) is not LoraLinear or module.lora_variant or any(module.lora_bias.values()):
        fault = f"a {type(module).__name__} of PEFT or a variant of LoRA"
    elif any(getattr(dropout, "p", 0.0) for dropout in module.lora_dropout.values()):
        fault = "an adapter with dropout, which is no part of a weight (recipe.dropout: 0)"
    elif len(module.active_adapters) != 1:
        fault = f"{len(module.active_adapters)} adapters"
    elif not module.base_layer.weight.is_floating_point():
        fault = f"weights in {module.base_layer.weight.dtype} (load the model without quantise)"
    if fault is not None:
        raise InputError(f"{name} has {fault}. Only plain LoRA on float weights trains through a quantiser.")


def _find_mask(
    weight: torch.Tensor, kind: str, *, keep_zeros: bool | None, module: str
) -> torch.Tensor | None:
    if keep_zeros and not keeps_zeros(kind):
        raise InputError(
            f"{module}: {kind} has no level at zero, so zeros cannot be kept. Choose Q8_0, Q5_0, Q4_0, int8 "
            "or nf4, or keep_zeros=False."
        )
    present = weight.detach() != 0
    if keep_zeros is None:
        zeros = 1 - present.float().mean().item()
        if zeros < SPARSE:
            return None
        if not keeps_zeros(kind):
            logger.warning("%s: %.0f %% zeros are lost: %s has no level at zero", module, 100 * zeros, kind)
            return None
        return present
    return present if keep_zeros and not bool(present.all()) else None
