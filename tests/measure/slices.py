"""A live model for tests: MLP channels are views of the first rows, and the output head may be rounded.

Pico-sized and apart from the components, so that what is tested here is the score alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rankadaptor.data.sequences import TokenSequence
from rankadaptor.measure import SliceScore
from rankadaptor.model.families import find_blocks
from rankadaptor.named_models import load
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation, Limit, Slot, Space

WIDTHS = (64, 48, 16)
ROUNDINGS = ("none", "coarse")


def make_space(model: Any, *, limit: int = 10_000_000) -> Space:
    """Return a space of MLP channels per block, and of the rounding of the embedding."""
    count = len(find_blocks(model))
    hidden = model.config.hidden_size
    slots = [
        Slot(
            name="embedding",
            component="precision",
            modules=("model.embed_tokens",),
            options=ROUNDINGS,
            costs=(("bytes", (4096, 1024)),),
            coordinates=((0.0,), (1.0,)),
            block=0,
            kind="embedding",
        )
    ]
    slots += [
        Slot(
            name=f"block{index}.mlp",
            component="width",
            modules=tuple(f"model.layers.{index}.mlp.{part}_proj" for part in ("gate", "up", "down")),
            options=WIDTHS,
            costs=(("bytes", tuple(12 * hidden * width for width in WIDTHS)),),
            coordinates=tuple((1 - width / WIDTHS[0],) for width in WIDTHS),
            block=index,
            kind="mlp",
        )
        for index in range(count)
    ]
    return Space(
        slots=tuple(slots),
        limits=(Limit("bytes", limit),),
        references=(("dense", (0,) * len(slots)),),
    )


class ViewedModel:
    """A model whose MLPs keep their leading channels for a while."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.entered = 0
        self.order_digest = "as they are"

    @contextmanager
    def applied(self, allocation: Allocation) -> Iterator[None]:
        self.entered += 1
        labels = allocation.by_slot()
        before: list[tuple[Any, torch.Tensor]] = []

        def exchange(module: Any, weight: torch.Tensor) -> None:
            before.append((module.weight, module.weight.data))
            module.weight.data = weight

        try:
            with torch.no_grad():
                for index, block in enumerate(find_blocks(self.model)):
                    width = labels[f"block{index}.mlp"]
                    exchange(block.mlp.gate_proj, block.mlp.gate_proj.weight.data[:width])
                    exchange(block.mlp.up_proj, block.mlp.up_proj.weight.data[:width])
                    exchange(block.mlp.down_proj, block.mlp.down_proj.weight.data[:, :width])
                if labels["embedding"] == "coarse":
                    embedding = self.model.get_input_embeddings()
                    exchange(embedding, (embedding.weight.data * 16).round() / 16)
            yield
        finally:
            for parameter, weight in before:
                parameter.data = weight


def draw_sequences(count: int = 6, length: int = 16, *, seed: int = 0) -> list[TokenSequence]:
    """Return random windows of the pico tokenizer's vocabulary."""
    ids = torch.randint(0, 128, (count, length), generator=torch.Generator().manual_seed(seed))
    return [TokenSequence(tuple(row), tuple(row)) for row in ids.tolist()]


def build_saved(folder: str) -> SliceScore:
    """Build the score of a saved model; workers call it."""
    compute = Compute(device="cpu", dtype="float32", threads=1, reason="tests")
    model, _ = load(folder, compute=compute)
    return SliceScore(ViewedModel(model), draw_sequences(), compute=compute, batch_tokens=32)
