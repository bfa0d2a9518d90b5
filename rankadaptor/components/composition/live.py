"""A live model that takes allocations of widths, depth and types, and gives them back without a trace."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from rankadaptor.components.composition.costs import End, describe_ends
from rankadaptor.components.composition.reading import Choices, read_choices
from rankadaptor.components.composition.record import describe_extracted
from rankadaptor.components.depth import drop_live
from rankadaptor.components.precision.copies import RoundedCopies
from rankadaptor.components.width import Half, Part, describe_halves, list_indices, order_groups
from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest
from rankadaptor.model.dropped import list_cache_places
from rankadaptor.model.families import find_blocks, find_family
from rankadaptor.model.identity import forget_origin
from rankadaptor.model.quantisation import refuse_quantised
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.importance import score_groups
from rankadaptor.pruning.surgery import write_shapes
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

RECENT = 2  # narrowed options of each half whose tensors are kept

Tensors = dict[str, tuple[torch.Tensor, torch.Tensor | None]]
"""Module name → weight and bias."""


class LiveModel:
    """A causal language model whose halves take any width and type of their space, one allocation at a time.

    Channels and KV groups are ordered by importance once; a half of width n consists of its n most important
    groups, in that order. A whole half keeps the order of the model, so that the dense reference in the
    model's own precision is the model itself, to the bit. Rounded copies of weights are computed when they
    are first needed and kept.

    Args:
        model: A supported causal language model without adapters. It is used as it is, not copied, and is
            unchanged outside `applied`.
        scores: One array `(groups,)` for each half, as `score_groups(model, find_groups(model), ...)`
            returns.
        importance: What to score by where `scores` is None; by default `param_first` with `sequences`, else
            `l2`. See `score_groups`.
        sequences: Calibration token ids `(sequences, length)`, for importances that look at text.
        seed: Seed of `random`.

    Attributes:
        model: The model.
        halves: Its halves, in block order, attention before MLP.
        scores: The scores, one array for each half.

    Raises:
        InputError: If the architecture is not supported, the model carries an adapter or is quantised, or the
            scores are not those of this model.
    """

    def __init__(
        self,
        model: Any,
        *,
        scores: Sequence[Array] | None = None,
        importance: str | None = None,
        sequences: torch.Tensor | None = None,
        seed: int = 0,
    ) -> None:
        self._family = find_family(model)
        if getattr(model, "peft_config", None):
            raise InputError(
                "The model carries an adapter. Merge it first: model = model.merge_and_unload()."
            )
        refuse_quantised(model, verb="searched")
        self.importance = importance or ("param_first" if sequences is not None else "l2")
        if scores is None:
            scores = score_groups(
                model, find_groups(model), importance=self.importance, sequences=sequences, seed=seed
            )
        self.model = model
        self.halves = tuple(describe_halves(model))
        self.scores = tuple(scores)
        self._orders = dict(
            zip((half.name for half in self.halves), order_groups(self.halves, scores), strict=True)
        )
        self._ends = tuple(describe_ends(model))
        self._copies = RoundedCopies()
        self._recent: dict[str, OrderedDict[tuple[object, ...], Tensors]] = {}
        self._busy = False

    @property
    def order_digest(self) -> str:
        """Name of the order in which groups are kept; it decides what an allocation is."""
        return compute_digest({name: order.tolist() for name, order in self._orders.items()})

    @contextlib.contextmanager
    def applied(self, allocation: Allocation, *, rounded: bool = True) -> Iterator[Any]:
        """Let the model be an allocation inside a `with` block; undone at its end, after an error too.

        An adapter that was attached meanwhile stays as it is: its linears see the weights under it change.

        Args:
            allocation: An allocation of this model's space.
            rounded: Whether weights are as they come back from their types; otherwise they are the model's.

        Yields:
            The model. Weights are views or copies of its own, dropped halves are not computed.

        Raises:
            InputError: If the allocation is not one of this model's, or another one is applied.
        """
        with self._installed(self._read(allocation), rounded=rounded):
            yield self.model

    def extract(self, allocation: Allocation, *, rounded: bool = False) -> tuple[Any, dict[str, str]]:
        """Return an allocation as a smaller transformers model of its own, and the types it chose.

        Args:
            allocation: An allocation of this model's space.
            rounded: Whether weights are as they come back from their types; then the logits are exactly those
                of the applied allocation. Otherwise they are the model's own, to be recovered, and quantised
                when they are written.

        Returns:
            The model, in the mode of this one, and the type of every matrix by its module's name, as
            `write_gguf` takes them.

        Raises:
            InputError: If the allocation is not one of this model's, or another one is applied.
        """
        choices = self._read(allocation)
        with self._installed(choices, rounded=rounded):
            small = copy.deepcopy(self.model)
        write_shapes(small)
        if rounded or any(width < self._find(name).full for name, (width, _) in choices.halves.items()):
            record = describe_extracted(
                self.model, small, allocation=allocation, importance=self.importance, halves=self.halves,
                scores=self.scores, removed=[self._list_removed(half, choices) for half in self.halves],
            )  # fmt: skip
            forget_origin(small)
            small.config.rankadaptor = record
        types = {end.module: choices.ends[end.name] for end in self._ends if end.name in choices.ends}
        for half in self.halves:
            _, kind = choices.halves.get(half.name, (half.full, None))
            if kind is not None:
                types |= {part.name: kind for part in half.parts}
        return small, types

    def order(self, name: str) -> list[int]:
        """Return the groups of a half by the name of its slot, the most important first."""
        self._find(name)
        found: list[int] = self._orders[name].tolist()
        return found

    def list_kept(self, allocation: Allocation) -> dict[str, torch.Tensor | None]:
        """Return, for every linear that is left, the rows or columns that an allocation keeps; None for all.

        They are rows where the groups of the half are outputs of the linear (`Part.member.axis` is 0), else
        columns, in the order in which `applied` puts them.
        """
        choices, kept = self._read(allocation), dict[str, torch.Tensor | None]()
        for half in self.halves:
            width, _ = choices.halves.get(half.name, (half.full, None))
            for part in half.parts if width else ():
                whole = width == half.full
                kept[part.name] = None if whole else self._list_first(half, part, width)
        return kept

    # ── installing ──────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, allocation: Allocation) -> Choices:
        return read_choices(allocation, halves=self.halves, ends=self._ends)

    def _find(self, name: str) -> Half:
        for half in self.halves:
            if half.name == name:
                return half
        raise InputError(f"no half {name!r}; this model has {self.halves[0].name} to {self.halves[-1].name}.")

    @contextlib.contextmanager
    def _installed(self, choices: Choices, *, rounded: bool) -> Iterator[None]:
        if self._busy:
            raise InputError("an allocation is applied already. Leave its `with` block first.")
        blocks = find_blocks(self.model)
        with contextlib.ExitStack() as undo:
            self._busy = True
            undo.callback(setattr, self, "_busy", False)
            for half in self.halves:
                width, kind = choices.halves.get(half.name, (half.full, None))
                if not width:
                    drop_live(blocks[half.block], half.kind, family=self._family, undo=undo)
                    continue
                for name, tensors in self._make_tensors(half, width, kind if rounded else None).items():
                    _replace(self._get_linear(name), tensors, undo)
            if rounded:
                for end in self._ends:
                    self._install_end(end, choices.ends.get(end.name), undo)
            places = list_cache_places(self.model)
            for attention, place in places:
                undo.callback(setattr, attention, "layer_idx", attention.layer_idx)
                attention.layer_idx = place
            yield

    def _install_end(self, end: End, kind: str | None, undo: contextlib.ExitStack) -> None:
        if kind is None:
            return
        module = self.model.get_submodule(end.module)
        old = module.weight
        fresh = nn.Parameter(self._copies.get(end.module, old, kind), requires_grad=old.requires_grad)
        head = self.model.get_output_embeddings()
        for each in {id(module): module, id(head): head}.values():
            if each.weight is old:  # a tied output head stays tied
                undo.callback(setattr, each, "weight", old)
                each.weight = fresh

    def _make_tensors(self, half: Half, width: int, kind: str | None) -> Tensors:
        """Return the weights of a half at a width, rounded to a type unless it is None."""
        if width == half.full:
            return {part.name: self._take_whole(part, kind) for part in half.parts}
        recent = self._recent.setdefault(half.name, OrderedDict())
        weight = self._get_linear(half.parts[0].name).weight
        key = (width, kind, weight.device, weight.dtype)
        if key not in recent:
            recent[key] = {part.name: self._take_first(half, part, width, kind) for part in half.parts}
            while len(recent) > RECENT:
                recent.popitem(last=False)
        recent.move_to_end(key)
        return recent[key]

    def _get_linear(self, name: str) -> Any:
        """Return a linear by name, or the one under its adapter."""
        module = self.model.get_submodule(name)
        return getattr(module, "base_layer", module)

    def _list_first(self, half: Half, part: Part, width: int) -> torch.Tensor:
        device = self._get_linear(part.name).weight.device
        return torch.from_numpy(list_indices(part, self._orders[half.name][:width])).to(device)

    def _take_whole(self, part: Part, kind: str | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        linear = self._get_linear(part.name)
        weight = linear.weight.detach()
        return (weight if kind is None else self._copies.get(part.name, weight, kind)), linear.bias

    def _take_first(
        self, half: Half, part: Part, width: int, kind: str | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        linear = self._get_linear(part.name)
        weight, bias = linear.weight.detach(), linear.bias
        order = torch.from_numpy(list_indices(part, self._orders[half.name])).to(weight.device)
        count = width * part.step
        if part.member.axis == 0:  # rows are rounded each for itself
            whole = weight if kind is None else self._copies.get(part.name, weight, kind)
            kept = order[:count]
            return whole.index_select(0, kept), None if bias is None else bias.detach().index_select(0, kept)
        if kind is None:
            return weight.index_select(1, order[:count]), bias
        return self._copies.get(part.name, weight, kind, columns=order)[:, :count].contiguous(), bias

    def _list_removed(self, half: Half, choices: Choices) -> list[int]:
        width, _ = choices.halves.get(half.name, (half.full, None))
        return sorted(self._orders[half.name][width:].tolist())


def _replace(
    linear: Any, tensors: tuple[torch.Tensor, torch.Tensor | None], undo: contextlib.ExitStack
) -> None:
    weight, bias = tensors
    old = linear.weight
    fresh: dict[str, Any] = {
        "weight": nn.Parameter(weight, requires_grad=old.requires_grad),
        "out_features": weight.shape[0],
        "in_features": weight.shape[1],
    }
    if bias is not None and bias is not linear.bias:
        fresh["bias"] = nn.Parameter(bias, requires_grad=linear.bias.requires_grad)
    for name, value in fresh.items():
        undo.callback(setattr, linear, name, getattr(linear, name))
        setattr(linear, name, value)
