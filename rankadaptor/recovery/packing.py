"""A batch without padding: the tokens of several sequences in one line, and where each sequence lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from rankadaptor.data.sequences import IGNORED

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence


@dataclass(frozen=True)
class PackedBatch:
    """Tokens of several sequences one after the other, longest sequence first.

    Attributes:
        input_ids: Token ids, `(tokens,)`.
        positions: Position of each token in its own sequence, `(tokens,)`.
        groups: (sequences, length) of each run of equally long sequences, in the order of the tokens.
        predicting: Indices of the tokens after which a label is wanted, `(targets,)`.
        targets: Those labels, `(targets,)`.
        owners: For each of them the sequence it belongs to, counted in the order given, `(targets,)`.
        count: Number of sequences.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    groups: tuple[tuple[int, int], ...]
    predicting: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    count: int

    @property
    def longest(self) -> int:
        """Length of the longest sequence."""
        return self.groups[0][1]


def pack_sequences(sequences: Sequence[TokenSequence], *, device: str) -> PackedBatch:
    """Lay sequences one after the other; at least one of them must have a label."""
    order = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index]), index))
    lengths = [len(sequences[index]) for index in order]
    ids = np.concatenate([np.asarray(sequences[index].input_ids, dtype=np.int64) for index in order])
    # The label of a token stands at the token itself; it is predicted one place earlier.
    following = [np.asarray((*sequences[index].labels[1:], IGNORED), dtype=np.int64) for index in order]
    labels = np.concatenate(following)
    predicting = np.flatnonzero(labels != IGNORED)
    owners = np.repeat(np.asarray(order), lengths)[predicting]

    def put(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)

    return PackedBatch(
        input_ids=put(ids),
        positions=put(np.concatenate([np.arange(length) for length in lengths])),
        groups=tuple((len(list(run)), length) for length, run in groupby(lengths)),
        predicting=put(predicting),
        targets=put(labels[predicting]),
        owners=put(owners),
        count=len(sequences),
    )
