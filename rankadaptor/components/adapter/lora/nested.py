"""An elastic adapter: one adapter at the largest ranks; each training step can use another nested slice.

Rank r of a linear means the first r rows of its A, the first r columns of its B, and the LoRA scale that the
recipe gives to rank r. A slice therefore has the outputs of an adapter of that allocation with those weights,
and only the weights of the slice receive gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer

from rankadaptor.components.adapter import RANK, read_ranks, read_scales
from rankadaptor.components.adapter.lora.attach import ADAPTER_NAME, attach_adapter, detach_adapter
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from peft import PeftModel

    from rankadaptor.recipe import Recipe
    from rankadaptor.space import Space


class LeadingLinear(torch.nn.Module):
    """A linear without bias of which only the leading rows or columns are used.

    Attributes:
        whole: The trained weight at the largest rank.
        axis: 0 if ranks are rows (A), 1 if they are columns (B).
        rank: Number of rows or columns in use.
        kept: Indices along the other axis that a narrower linear uses: inputs of A or outputs of B; None uses
            all.
    """

    def __init__(self, whole: torch.nn.Parameter, *, axis: int) -> None:
        super().__init__()
        self.whole = whole
        self.axis = axis
        self.rank = whole.shape[axis]
        self.kept: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The rows and columns in use."""
        leading = self.whole.narrow(self.axis, 0, self.rank)
        return leading if self.kept is None else leading.index_select(1 - self.axis, self.kept)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply the leading part."""
        return F.linear(inputs, self.weight)


class SuperAdapter:
    """The nested layers of a model, with a method that sets their ranks.

    Attributes:
        peft_model: The model with these layers; `fine_tune` trains it like any other.
        space: The space of the allocations.
        recipe: Gives the scale of each rank.
    """

    def __init__(self, peft_model: PeftModel, space: Space, recipe: Recipe) -> None:
        self.peft_model, self.space, self.recipe = peft_model, space, recipe
        self._layers: dict[str, Any] = {
            name: module
            for name, module in peft_model.get_base_model().named_modules()
            if isinstance(module, LoraLayer)
        }
        for layer in self._layers.values():
            for axis, side in enumerate((layer.lora_A, layer.lora_B)):
                side[ADAPTER_NAME] = LeadingLinear(side[ADAPTER_NAME].weight, axis=axis)

    def choose(self, choices: Sequence[int]) -> None:
        """Use this allocation from now on, one choice per slot; it need not keep the limits."""
        chosen = Allocation(choices=tuple(int(choice) for choice in choices), space=self.space)
        factors = read_scales(chosen)
        for name, rank in read_ranks(chosen).items():
            if (layer := self._layers.get(name)) is None:
                continue  # its largest rank is 0
            layer.lora_A[ADAPTER_NAME].rank = layer.lora_B[ADAPTER_NAME].rank = rank
            layer.scaling[ADAPTER_NAME] = self.recipe.scale(rank) * factors.get(name, 1.0)

    def narrow(self, name: str, *, rows: torch.Tensor | None, columns: torch.Tensor | None) -> None:
        """Use only some outputs (`rows`) or inputs (`columns`) of a linear's adapter, as its weight does."""
        if (layer := self._layers.get(name)) is not None:
            layer.lora_A[ADAPTER_NAME].kept, layer.lora_B[ADAPTER_NAME].kept = columns, rows

    def switch(self, *, on: bool) -> None:
        """Switch all adapters on or off; while they are off, the model is the one under them."""
        for layer in self._layers.values():
            layer.enable_adapters(enabled=on)

    @contextlib.contextmanager
    def removed(self) -> Iterator[Any]:
        """Yield the model under the adapter, with plain linears again, for a `with` block."""
        model = self.peft_model.get_base_model()
        parents = {name: model.get_submodule(name.rpartition(".")[0]) for name in self._layers}
        marked = model.__dict__.pop("peft_config", None)  # PEFT's mark of a model with an adapter
        try:
            for name, layer in self._layers.items():
                setattr(parents[name], name.rpartition(".")[2], layer.get_base_layer())
            yield model
        finally:
            for name, layer in self._layers.items():
                setattr(parents[name], name.rpartition(".")[2], layer)
            if marked is not None:
                model.peft_config = marked

    def read_slice(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return copies of A and B of every linear as they are used now; those of rank 0 are left out."""
        return {
            name: (down.weight.detach().clone(), up.weight.detach().clone())
            for name, layer in self._layers.items()
            for down, up in [(layer.lora_A[ADAPTER_NAME], layer.lora_B[ADAPTER_NAME])]
            if down.rank
        }

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy weights at the largest ranks into the adapter, named as `read_weights` names them.

        Raises:
            InputError: If names or shapes are not those of this adapter.
        """
        mine = {
            f"{name}.{letter}": side[ADAPTER_NAME].whole
            for name, layer in self._layers.items()
            for letter, side in (("A", layer.lora_A), ("B", layer.lora_B))
        }
        shapes = {name: tuple(value.shape) for name, value in mine.items()}
        if shapes != (given := {name: tuple(value.shape) for name, value in weights.items()}):
            name = min(set(shapes.items()) ^ set(given.items()))[0]
            raise InputError(
                f"these weights are those of another adapter: {name} has shape {given.get(name)}, needed is "
                f"{shapes.get(name)}. Take the model and the space that they were trained with."
            )
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(weights[name])

    def read_weights(self) -> dict[str, torch.Tensor]:
        """Return copies of all weights at the largest ranks, named `<linear>.A` and `<linear>.B`."""
        return {
            f"{name}.{letter}": side[ADAPTER_NAME].whole.detach().cpu().clone()
            for name, layer in self._layers.items()
            for letter, side in (("A", layer.lora_A), ("B", layer.lora_B))
        }


def find_widest(space: Space) -> Allocation:
    """Return the allocation of the largest ranks, without regard to limits; scales are uniform's."""
    choices = tuple(
        len(slot.options) - 1 if slot.pinned is None and slot.component == RANK else usual
        for slot, usual in zip(space.slots, space.origin, strict=True)
    )
    return Allocation(choices=choices, space=space)


@contextlib.contextmanager
def attach_nested(model: Any, space: Space, recipe: Recipe, *, seed: int) -> Iterator[SuperAdapter]:
    """Attach an elastic adapter to `model` for a `with` block; the model is restored afterwards.

    The initialisation is that of `attach_adapter` with the same seed, so that each slice equals a new adapter
    of that allocation.

    Raises:
        InputError: If the space names linears that `model` does not have, or the model carries an adapter.
    """
    was_training = model.training
    peft_model = attach_adapter(model, find_widest(space), recipe, seed=seed)
    try:
        yield SuperAdapter(peft_model, space, recipe)
    finally:
        detach_adapter(peft_model).train(was_training)


def cut_slice(
    weights: Mapping[str, torch.Tensor], allocation: Allocation, *, trained: Recipe, wanted: Recipe
) -> dict[str, torch.Tensor]:
    """Return the adapter weights of an allocation from an elastic adapter's weights.

    Where two recipes have different scales for a rank, B is multiplied by their ratio, so that the slice has
    the same outputs with both.

    Args:
        weights: From `SuperAdapter.read_weights`.
        allocation: Ranks; linears of rank 0 are left out.
        trained: Recipe of the elastic adapter's training.
        wanted: Recipe that the slice will be used with.

    Returns:
        Tensors by PEFT's names, as in `adapter_model.safetensors`.
    """
    state = {}
    for name, rank in read_ranks(allocation).items():
        if rank == 0:
            continue
        ratio = trained.scale(rank) / wanted.scale(rank)
        prefix = f"base_model.model.{name}"
        state[f"{prefix}.lora_A.weight"] = weights[f"{name}.A"][:rank].contiguous()
        state[f"{prefix}.lora_B.weight"] = (weights[f"{name}.B"][:, :rank] * ratio).contiguous()
    return state
