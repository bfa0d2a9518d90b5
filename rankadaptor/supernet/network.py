"""A super-network: one model and one adapter, of which every allocation is a slice."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from rankadaptor.components.adapter import RANK
from rankadaptor.components.adapter.lora import attach_adapter, detach_adapter
from rankadaptor.components.adapter.lora.nested import SuperAdapter
from rankadaptor.components.adapter.lora.rounded import round_adapted
from rankadaptor.components.composition import LiveModel
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, Space
from rankadaptor.supernet.plan import find_widest
from rankadaptor.training.start import load_start

if TYPE_CHECKING:
    from rankadaptor.pruning.aggregation import Array
    from rankadaptor.recipe import Recipe
    from rankadaptor.space.allocation import SlotSpace

DENSE = None
"""What is set while no allocation is: the model as it was given, without the adapter."""


@dataclass(frozen=True)
class Extracted:
    """A slice as a model of its own.

    Attributes:
        model: The smaller model with its adapter (a PEFT model), or without one where all ranks are 0.
        types: The type of every matrix by its module's name, as `write_gguf` takes them.
    """

    model: Any
    types: dict[str, str]


class SuperNetwork:
    """Shared weights over widths, depth and adapter ranks; only the adapter is trained.

    Channels and KV groups are ordered by importance once: a half of width n consists of its n most important
    groups, and the adapters of its linears have the rows and columns of these groups. Rank r is the first r
    rows of A and columns of B. So the adapter of a slice is part of that of every larger slice.

    With `types` every linear of a slice multiplies by its weight, adapter included, as it comes back from its
    type, and zeros of a sparse model stay zero: what is trained is what the merged slice holds, as in
    QA-SparsePEFT [SQFT]_ (in SparsePEFT, where the type does not round). Widths and depth are then fixed.

    The model is used as it is. While nothing is set it computes what it computed before, and `close` (the end
    of a `with` block) removes the adapter. A whole half keeps the order of the model.

    Args:
        model: A supported causal language model without adapters.
        space: Its space, from `build_elastic_space`.
        recipe: Gives the LoRA scale of each rank, and dropout.
        seed: Seed of the adapter's initialisation.
        scores: One array for each half, as `score_groups(model, find_groups(model), ...)` returns.
        importance: What to order by where `scores` is None; see `LiveModel`.
        sequences: Calibration token ids `(sequences, length)`, for importances that look at text.
        types: Type of each linear by module name; see `round_adapted`. None leaves weights and adapter apart.

    Attributes:
        model: The causal language model, with the adapter's layers inside.
        peft_model: The PEFT model around it; `fine_tune` trains it.
        space: The space.
        recipe: The recipe.
        seed: The seed.
        scores: What the groups of each half are ordered by.
        types: The types that slices are rounded to, empty without rounding.

    Raises:
        InputError: If model, space, scores or types do not fit.
    """

    def __init__(
        self,
        model: Any,
        space: Space,
        recipe: Recipe,
        *,
        seed: int = 0,
        scores: Sequence[Array] | None = None,
        importance: str | None = None,
        sequences: torch.Tensor | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        self.types = dict(types or {})
        if self.types:
            _check_fixed(space)
        self.model, self.space, self.recipe, self.seed = model, space, recipe, seed
        self._live = LiveModel(model, scores=scores, importance=importance, sequences=sequences, seed=seed)
        self.scores, self.importance = self._live.scores, self._live.importance
        self._training = model.training
        widest = find_widest(space)
        self._rows = {part.name: part.member.axis == 0 for half in self._live.halves for part in half.parts}
        self._live.list_kept(widest)  # says what does not fit before anything is attached
        self.peft_model = attach_adapter(model, widest, recipe, seed=seed)
        if self.types:
            round_adapted(self.peft_model, self.types)
        self._adapter = SuperAdapter(self.peft_model, space, recipe)
        self._set = contextlib.ExitStack()
        self._chosen: Allocation | None = widest
        self.set(DENSE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the adapter and give the model back as it was."""
        self.set(DENSE)
        self._adapter.switch(on=True)
        detach_adapter(self.peft_model).train(self._training)

    @property
    def chosen(self) -> Allocation | None:
        """The allocation that is set, None for the dense model without the adapter."""
        return self._chosen

    @property
    def order_digest(self) -> str:
        """Name of the order in which groups are kept; it decides what an allocation is."""
        return self._live.order_digest

    def set(self, allocation: Allocation | None) -> None:
        """Let the model be an allocation until another one is set; it need not keep the limits.

        Args:
            allocation: An allocation of this space, or of one with the same slots and other limits; None for
                the dense model without the adapter.

        Raises:
            InputError: If its slots are others.
        """
        if allocation is not None and _name_slots(allocation.space) != _name_slots(self.space):
            raise InputError(
                f"the allocation belongs to space {allocation.space.digest}, the super-network to "
                f"{self.space.digest}, with other slots. Use an allocation of network.space."
            )
        if allocation == self._chosen and (allocation is None) == (self._chosen is None):
            return
        was_on = self._chosen is not None
        self._set.close()
        self._chosen = None
        if allocation is None:
            self._adapter.switch(on=False)
            return
        self._set.enter_context(self._live.applied(allocation, rounded=False))
        self._adapter.choose(allocation.choices)
        for name, kept in self._live.list_kept(allocation).items():
            rows = self._rows[name]
            self._adapter.narrow(name, rows=kept if rows else None, columns=None if rows else kept)
        if not was_on:
            self._adapter.switch(on=True)
        self._chosen = allocation

    @contextlib.contextmanager
    def applied(self, allocation: Allocation | None) -> Iterator[Any]:
        """Set an allocation for a `with` block, and then again what was set before.

        Yields:
            The causal language model.
        """
        before = self._chosen
        self.set(allocation)
        try:
            yield self.model
        finally:
            self.set(before)

    def extract(self, allocation: Allocation) -> Extracted:
        """Return an allocation as a smaller model with an adapter of its own.

        Its logits are exactly those of the applied allocation. Merge the adapter, or save both: the model is
        a transformers model, the adapter a PEFT adapter. A slice that is rounded has to be merged, which
        changes no logit.

        Raises:
            InputError: If the allocation belongs to another space.
        """
        with self.applied(allocation):
            tensors = self._adapter.read_slice()
        with self.applied(DENSE), self._adapter.removed():
            small, types = self._live.extract(allocation)
        flags: Mapping[str, bool] = getattr(self.peft_model, "flags_before", {})
        for name, value in small.named_parameters():
            value.requires_grad_(flags.get(name, True))
        left = {name for name, _ in small.named_modules()}
        tensors = {name: pair for name, pair in tensors.items() if name in left}
        if not tensors:
            return Extracted(small.train(self.model.training), types)
        adapter = attach_adapter(small, _take_ranks(allocation, left=left), self.recipe, seed=self.seed)
        load_start(
            adapter,
            {
                f"base_model.model.{name}.lora_{letter}.weight": value
                for name, pair in tensors.items()
                for letter, value in zip("AB", pair, strict=True)
            },
        )
        if self.types:
            round_adapted(adapter, self.types)
        return Extracted(adapter.train(self.model.training), types)

    def read_weights(self) -> dict[str, torch.Tensor]:
        """Return copies of the shared adapter weights, named `<linear>.A` and `<linear>.B`."""
        return self._adapter.read_weights()

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy shared adapter weights, as `read_weights` returns them, into the super-network.

        Raises:
            InputError: If they are those of another one.
        """
        self._adapter.load_weights(weights)


def _check_fixed(space: Space) -> None:
    """Check that a space leaves every linear whole and adapted, as rounded slices need.

    Raises:
        InputError: If not; the message names the first slot.
    """
    for slot in space.slots:
        if slot.component == RANK and min(option for option in slot.options if isinstance(option, int)) < 1:
            raise InputError(
                f"{slot.name}: rank 0 leaves a linear without the adapter that rounds it. Give ranks above 0."
            )
        if slot.component != RANK and len(slot.options) > 1:
            raise InputError(
                f"{slot.name} has {len(slot.options)} options, but types are given. Slices are trained "
                "through the rounding of their types only where widths and depth are fixed: leave types out, "
                "or let only ranks vary."
            )


def _name_slots(space: SlotSpace) -> list[tuple[object, ...]]:
    """Return what the slots of a space choose."""
    return [(slot.name, slot.component, slot.modules, slot.options) for slot in space.slots]


def _take_ranks(allocation: Allocation, *, left: set[str]) -> Allocation:
    """Return the ranks alone, each the one option of its slot, without linears that are gone."""
    slots = tuple(
        dataclasses.replace(
            slot,
            modules=kept,
            options=(slot.options[choice],),
            costs=tuple((name, (costs[choice],)) for name, costs in slot.costs),
            coordinates=(tuple(0.0 for _ in slot.coordinates[choice]),),
            pinned=None,
        )
        for slot, choice in zip(allocation.space.slots, allocation.choices, strict=True)
        if slot.component == RANK and (kept := tuple(name for name in slot.modules if name in left))
    )
    space = Space(slots, (), (("extracted", (0,) * len(slots)),), model=allocation.space.model)
    return space.reference()
