"""A causal language model run block by block, from any block on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from rankadaptor.model.families import find_blocks

Arguments = Mapping[str, Any]


class BlockPasses:
    """Runs the model's own modules one after the other; what they compute is what its own forward computes.

    Masks and positions that the model hands to its blocks depend on the shape of a batch alone, because
    batches have no padding. They are asked from the model once per shape.

    Args:
        model: A causal language model of a supported family. Its modules are looked up for every pass, so
            weights and modules may be exchanged in between.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._arguments: dict[torch.Size, list[Arguments]] = {}

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(find_blocks(self.model))

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what enters the first block, `(n, length, hidden)`."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def run(self, hidden: torch.Tensor, ids: torch.Tensor, *, first: int, last: int) -> torch.Tensor:
        """Run the blocks from `first` up to, and without, `last`."""
        arguments = self._find_arguments(ids)
        for block, given in zip(find_blocks(self.model)[first:last], arguments[first:last], strict=True):
            output = block(hidden, **given)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the last norm."""
        finished: torch.Tensor = self.model.base_model.norm(hidden)
        return finished

    def _find_arguments(self, ids: torch.Tensor) -> Sequence[Arguments]:
        if ids.shape not in self._arguments:
            with _record_arguments(find_blocks(self.model)) as seen:
                self.model.base_model(input_ids=ids, use_cache=False)
            self._arguments[ids.shape] = seen
        return self._arguments[ids.shape]


@contextmanager
def _record_arguments(blocks: Any) -> Iterator[list[Arguments]]:
    """Let blocks pass their input on and note their other arguments, without computing anything."""
    seen: list[Arguments] = []

    def pass_on(hidden: torch.Tensor, **given: Any) -> torch.Tensor:
        seen.append(given)
        return hidden

    with _replaced(blocks, pass_on):
        yield seen


@contextmanager
def _replaced(blocks: Any, forward: Any) -> Iterator[None]:
    before = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = forward
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is None:
                del block.forward
            else:
                block.forward = own
