"""Slot features of a live model: what each option changes where it acts, and how the model responds to it.

For a half of a block with output y, an option changes y by Δy, computed exactly on the dense model's inputs.
With labels ŷ drawn from the dense model itself, g = ∂ log p(ŷ) / ∂y is the gradient of a sequence's log
likelihood, and

    KL(dense ‖ option) ≈ ½ E[(Σ over tokens g · Δy)²] / tokens

to second order, because the Fisher information is the Hessian of the divergence. Gradients of different slots
come from one backward pass, so g · Δy of all slots of one token can be added: the mean square of the sum is
the estimate for several options together. One backward pass has drawn labels and one the text's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankadaptor.components.composition.costs import End, describe_ends
from rankadaptor.components.depth import is_dropped
from rankadaptor.components.precision import measure_rounding
from rankadaptor.components.width import Half
from rankadaptor.features.slot_features import NAMES, SlotFeatures
from rankadaptor.model.families import find_blocks, find_family
from rankadaptor.space import Allocation, Label, Slot, Space

if TYPE_CHECKING:
    from rankadaptor.components.composition import LiveModel

WINDOW = 64
"""Tokens of the sequences that gradients are taken of: shorter ones give more samples of the same text."""
PASSES = 2
RANK = 32
"""Numbers that stand for the responses of an option on all tokens."""


@dataclass
class _Seen:
    """What a module was given and what it returned, with one gradient for each backward pass."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    output: torch.Tensor
    gradients: list[torch.Tensor]


def compute_slot_features(
    live: LiveModel, space: Space, sequences: torch.Tensor, *, seed: int = 0
) -> SlotFeatures:
    """Compute the features of every option.

    Args:
        live: The model and how allocations are applied to it.
        space: A space of this model; its limits do not matter.
        sequences: Token ids `(n, length)`; cut into sequences of `WINDOW` tokens where they are longer.
        seed: Of the labels that are drawn from the dense model.
    """
    ids = sequences[:, : sequences.shape[1] // WINDOW * WINDOW] if sequences.shape[1] > WINDOW else sequences
    ids = ids.reshape(-1, min(WINDOW, ids.shape[1]))
    halves = {half.name: half for half in live.halves}
    ends = {end.name: end for end in describe_ends(live.model)}
    probe = _Probe(live, ids, seed=seed)
    shape = (space.n_slots, space.tables.n_options)
    values = np.zeros((*shape, len(NAMES)), dtype=np.float32)
    single: dict[tuple[int, int], NDArray[np.float32]] = {}
    for index, slot in enumerate(space.slots):
        if slot.name in halves:
            found = probe.follow_half(space, index, halves[slot.name])
        elif slot.name in ends:
            found = probe.follow_end(space, index, ends[slot.name])
        else:
            continue
        for option, (numbers, response) in enumerate(found):
            if option != space.origin[index]:
                values[index, option], single[index, option] = numbers, response
    responses = np.zeros((*shape, RANK), dtype=np.float32)
    for place, reduced in zip(single, _reduce(np.array(list(single.values()))), strict=True):
        responses[place] = reduced
    return SlotFeatures(tuple(slot.options for slot in space.slots), values, responses, round(probe.tokens))


def _reduce(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `(n, RANK)` coordinates whose products are those of the rows as nearly as possible."""
    gram = rows.astype(np.float64) @ rows.T.astype(np.float64)
    sizes, vectors = np.linalg.eigh(gram)
    kept = np.sqrt(np.maximum(sizes[-RANK:], 0.0)) * vectors[:, -RANK:]
    reduced = np.zeros((len(rows), RANK), dtype=np.float32)
    reduced[:, : kept.shape[1]] = kept[:, ::-1]
    return reduced


class _Probe:
    """Passes of the dense model over the sequences, and the responses of options."""

    def __init__(self, live: LiveModel, ids: torch.Tensor, *, seed: int) -> None:
        self.live, self.ids = live, ids
        self.tokens = 0.0
        self._family = find_family(live.model)
        self._weights = {half.name: half.count_parameters(half.full) for half in live.halves}
        self._all = sum(self._weights.values()) + live.model.get_output_embeddings().weight.numel()
        self._importance = {
            half.name: np.sort(np.asarray(score, dtype=np.float64))[::-1]
            for half, score in zip(live.halves, live.scores, strict=True)
        }
        with _evaluating(live.model):
            self._pass(seed)

    def _pass(self, seed: int) -> None:
        """Run the dense model forward once and backward for each set of labels."""
        model = self.live.model
        modules = {
            half.name: getattr(find_blocks(model)[half.block], self._family.half_path(half.kind))
            for half in self.live.halves
        }
        self.seen: dict[str, _Seen] = {}
        with _recorded({**modules, "embedding": model.get_input_embeddings()}, self.seen):
            hidden = model.base_model(input_ids=self.ids, use_cache=False).last_hidden_state[:, :-1]
        self.hidden = hidden.detach()
        head = model.get_output_embeddings().weight.detach()
        logits = hidden @ head.T
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.shares = logits.softmax(-1)
            drawn = torch.multinomial(self.shares.flatten(0, 1).cpu(), 1, generator=generator)
        self.labels = [drawn.view(hidden.shape[:2]).to(self.ids.device), self.ids[:, 1:]]
        for number, labels in enumerate(self.labels):
            likelihood = logits.log_softmax(-1).gather(-1, labels[..., None]).sum()
            outputs = [each.output for each in self.seen.values()]
            gradients = torch.autograd.grad(likelihood, outputs, retain_graph=number + 1 < len(self.labels))
            for each, gradient in zip(self.seen.values(), gradients, strict=True):
                each.gradients.append(gradient)
        for each in self.seen.values():
            each.output = each.output.detach()
        self.tokens += self.ids.numel() * (1 + 2 * PASSES)

    def follow_half(self, space: Space, index: int, half: Half) -> Iterator[tuple[Sequence[float], Any]]:
        """Yield features and responses of each option of a half."""
        slot, seen = space.slots[index], self.seen[half.name]
        block = find_blocks(self.live.model)[half.block]
        for option, label in enumerate(slot.options):
            if is_dropped(label):
                changed = -seen.output
            else:
                with self._applied(space, index, option), torch.no_grad():
                    module = getattr(block, self._family.half_path(half.kind))
                    changed = _first(module(*seen.arguments, **seen.named)) - seen.output
                self.tokens += self.ids.numel() * self._weights[half.name] / self._all
            response = [(gradient * changed).sum(-1) for gradient in seen.gradients]
            yield self._describe(slot, label, changed, seen.output, response, half=half)

    def follow_end(self, space: Space, index: int, end: End) -> Iterator[tuple[Sequence[float], Any]]:
        """Yield features and responses of each option of the embedding or the output head."""
        slot, model = space.slots[index], self.live.model
        seen = self.seen["embedding"]
        is_input = model.get_submodule(end.module) is model.get_input_embeddings()
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        dense = model.get_submodule(end.module).weight.detach()
        for option, label in enumerate(slot.options):
            with self._applied(space, index, option), torch.no_grad():
                difference = model.get_submodule(end.module).weight.detach() - dense
            changed = difference[self.ids]
            response = [torch.zeros(self.ids.shape) for _ in self.labels]
            if is_input:
                response = [(gradient * changed).sum(-1) for gradient in seen.gradients]
            if tied or not is_input:
                logits = self.hidden @ difference.T
                expected = (self.shares * logits).sum(-1)
                for number, labels in enumerate(self.labels):
                    picked = logits.gather(-1, labels[..., None])[..., 0]
                    response[number] = response[number].clone()
                    response[number][:, :-1] += picked - expected
                self.tokens += self.ids.numel() * dense.numel() / self._all
            yield self._describe(slot, label, changed, dense[self.ids], response)

    def _describe(
        self,
        slot: Slot,
        label: Label,
        changed: torch.Tensor,
        output: torch.Tensor,
        response: Sequence[torch.Tensor],
        *,
        half: Half | None = None,
    ) -> tuple[Sequence[float], NDArray[np.float32]]:
        tokens = self.ids.shape[1] - 1
        single = torch.stack(list(response))  # (passes, n, length)
        whole = single.sum(-1)
        change = float(changed.square().sum() / output.square().sum().clamp_min(1e-12))
        stream = float(changed.square().sum() / self._measure_stream(slot).clamp_min(1e-12))
        removed = 0.0
        if half is not None and isinstance(label, tuple):
            ordered = self._importance[half.name]
            removed = float(ordered[int(label[0]) :].sum() / max(ordered.sum(), 1e-12))
        kind = label[-1] if isinstance(label, tuple) else label
        rounded = 0.0 if is_dropped(label) else measure_rounding(str(kind)) ** 2
        numbers = (
            float(whole.square().mean()) / (2 * tokens),
            float(single.square().sum(-1).mean()) / (2 * tokens),
            abs(float(whole[1].mean())) / tokens,
            change,
            stream,
            removed,
            rounded,
        )
        samples = PASSES * len(self.ids) * 2 * tokens
        return numbers, (single.flatten() / samples**0.5).cpu().numpy().astype(np.float32)

    def _measure_stream(self, slot: Slot) -> torch.Tensor:
        """Return the squared size of the hidden states that leave a slot's block before its last sum."""
        embedded = self.seen["embedding"].output
        total = embedded.clone()
        for half in self.live.halves:
            if half.block <= slot.block:
                total = total + self.seen[half.name].output
        return total.square().sum()

    @contextlib.contextmanager
    def _applied(self, space: Space, index: int, option: int) -> Iterator[None]:
        choices = list(space.origin)
        choices[index] = option
        with self.live.applied(Allocation(tuple(choices), space)):
            yield


def _first(output: Any) -> torch.Tensor:
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextlib.contextmanager
def _recorded(modules: dict[str, Any], seen: dict[str, _Seen]) -> Iterator[None]:
    """Record what modules are given and return; outputs take part in differentiation."""

    def make(name: str) -> Callable[..., Any]:
        def record(_: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
            first = _first(output)
            if not first.requires_grad:
                first = first.detach().requires_grad_(True)
            given = tuple(_detach(each) for each in arguments)
            seen[name] = _Seen(given, {key: _detach(each) for key, each in named.items()}, first, [])
            return (first, *output[1:]) if isinstance(output, tuple) else first

        return record

    handles = [module.register_forward_hook(make(name), with_kwargs=True) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _detach(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    return tuple(map(_detach, value)) if isinstance(value, tuple) else value
