"""Outputs of decoder blocks: which blocks of a student and its teacher belong together, and their outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from rankadaptor.errors import InputError
from rankadaptor.model.families import HALVES, find_blocks, find_family, has_half
from rankadaptor.model.record import read_pruning


def match_blocks(student: Any, teacher: Any) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a student's kept blocks and the same blocks of its teacher.

    Blocks that were removed by `prune` are known from the model's pruning record. Blocks of which neither
    attention nor MLP is left are left out.

    Args:
        student: A causal language model without its adapter's wrapper.
        teacher: Another of the same hidden size.

    Raises:
        InputError: If the hidden sizes differ, or the blocks cannot be matched.
    """
    sizes = [model.config.hidden_size for model in (teacher, student)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"The teacher's hidden states have {sizes[0]} numbers, the model's {sizes[1]}, so they cannot be "
            "compared. Set hidden_weight to 0, or give the model before pruning as teacher."
        )
    family = find_family(student)
    places = {number: place for place, number in enumerate(_list_numbers(teacher))}
    blocks = find_blocks(student)
    pairs = [
        (place, places[number])
        for place, number in enumerate(_list_numbers(student))
        if number in places and any(has_half(blocks[place], half, family=family) for half in HALVES)
    ]
    recorded = "removed_blocks" in (read_pruning(student) or {})
    if not pairs or (len(blocks) != len(places) and not recorded):
        raise InputError(
            f"The teacher has {len(places)} blocks, the model {len(blocks)}, and nothing says which of them "
            "belong together. Set hidden_weight to 0, or remove blocks with rankadaptor.prune, which records "
            "them."
        )
    return tuple(pairs)


def _list_numbers(model: Any) -> list[int]:
    """Return the index of each block in the model before any block was removed."""
    count, record = len(find_blocks(model)), read_pruning(model) or {}
    entries = record.get("blocks") or []
    if len(entries) != count:
        return list(range(count))
    return [int(entry.get("original", place)) for place, entry in enumerate(entries)]


@contextlib.contextmanager
def collect_outputs(
    causal_lm: Any, blocks: Sequence[int]
) -> Iterator[Callable[[], tuple[torch.Tensor, ...]]]:
    """Collect the outputs of blocks in the model's own forward pass, through hooks.

    Args:
        causal_lm: The model.
        blocks: Indices of the blocks.

    Yields:
        A function that returns the outputs, `(n, length, hidden)` each, after the pass.
    """
    found: dict[int, torch.Tensor] = {}

    def make_hook(index: int) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            found.setdefault(index, output[0] if isinstance(output, tuple) else output)

        return hook

    layers = find_blocks(causal_lm) if blocks else ()
    handles = [layers[index].register_forward_hook(make_hook(index)) for index in blocks]
    try:
        yield lambda: tuple(found[index] for index in blocks)
    finally:
        for handle in handles:
            handle.remove()
