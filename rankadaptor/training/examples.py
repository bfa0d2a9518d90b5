"""The training sequences that zero-cost scores and the gradient initialisation read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from rankadaptor.defaults import SEARCH
from rankadaptor.errors import InputError
from rankadaptor.training.loss import make_device_batch

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute

EXAMPLES = SEARCH.examples
AT_ONCE = 8  # sequences per forward pass


@dataclass(frozen=True)
class ExampleBatch:
    """A few sequences on the device.

    Attributes:
        tokens: `input_ids` and `labels`, both `(n, length)`, right-padded.
        real: `(n, length)`, False on padding.
        targets: Number of predicted labels.
    """

    tokens: dict[str, torch.Tensor]
    real: torch.Tensor
    targets: int


def draw_examples(sequences: Sequence[TokenSequence], count: int, *, seed: int) -> list[TokenSequence]:
    """Draw `count` distinct sequences with a label, or all if there are fewer.

    Raises:
        InputError: If none has a label, or `count` is less than 1.
    """
    usable = [sequence for sequence in sequences if sequence.targets]
    if count < 1 or not usable:
        raise InputError(
            f"examples={count}, sequences with a label: {len(usable)}. At least 1 of each is needed; give "
            "training sequences, as tokenise_rows makes them."
        )
    order = np.random.default_rng(seed).permutation(len(usable))[:count]
    return [usable[index] for index in order]


def iterate_batches(
    sequences: Sequence[TokenSequence], compute: Compute, *, at_once: int = AT_ONCE
) -> Iterator[ExampleBatch]:
    """Yield the sequences in batches of similar length."""
    ordered = sorted(sequences, key=len)
    for start in range(0, len(ordered), at_once):
        part = ordered[start : start + at_once]
        tokens = make_device_batch(part, compute)
        lengths = torch.tensor([len(sequence) for sequence in part], device=tokens["input_ids"].device)
        places = torch.arange(tokens["input_ids"].shape[1], device=lengths.device)
        yield ExampleBatch(tokens, places < lengths[:, None], sum(sequence.targets for sequence in part))


def count_tokens(sequences: Sequence[TokenSequence]) -> int:
    """Count input tokens without padding."""
    return sum(len(sequence) for sequence in sequences)
