"""A batch without padding, in which a prefix that several sequences share is stored once.

The result of a causal model for a token does not depend on later tokens. Rows of one template share a prefix,
so the template's tokens are processed once per batch instead of once per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from rankadaptor.data.row import IGNORED

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence

SHORTEST_PREFIX = 16  # shorter prefixes cost more in copies than they save


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences that begin with the same tokens, or that share nothing.

    Attributes:
        prefix: Number of tokens they share; 0 if they share nothing.
        runs: (sequences, length) of each run of equally long rests, longest first.
    """

    prefix: int
    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PackedBatch:
    """Tokens of several sequences one after the other: per `PrefixGroup` the shared prefix, then the rests.

    Attributes:
        input_ids: Token ids, `(tokens,)`.
        positions: Position of each token in its own sequence, `(tokens,)`.
        prefix_groups: How the tokens belong together, in their order.
        predicting: Indices of the tokens that predict a label, `(targets,)`.
        targets: The labels, `(targets,)`.
        owners: Index of the sequence of each label, in the given order, `(targets,)`.
        count: Number of sequences.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    prefix_groups: tuple[PrefixGroup, ...]
    predicting: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    count: int


def pack_sequences(sequences: Sequence[TokenSequence], *, device: str) -> PackedBatch:
    """Concatenate sequences; at least one of them must have a label."""
    prefix_groups, ids, positions, labels, owners = [], [], [], [], []

    def lay(index: int, start: int, end: int) -> None:
        sequence = sequences[index]
        ids.append(np.asarray(sequence.input_ids[start:end], dtype=np.int64))
        # The label of a token is at the token itself; it is predicted one position earlier.
        following = (*sequence.labels[start + 1 : end + 1], IGNORED)[: end - start]
        labels.append(np.asarray(following, dtype=np.int64))
        positions.append(np.arange(start, end))
        owners.append(np.full(end - start, index))

    for prefix, members in _find_prefix_groups(sequences):
        order = sorted(members, key=lambda index: (-len(sequences[index]), index))
        if prefix:
            lay(order[0], 0, prefix)
        for index in order:
            lay(index, prefix, len(sequences[index]))
        lengths = [len(sequences[index]) - prefix for index in order]
        prefix_groups.append(
            PrefixGroup(prefix, tuple((len(list(run)), length) for length, run in groupby(lengths)))
        )
    all_labels = np.concatenate(labels)
    predicting = np.flatnonzero(all_labels != IGNORED)

    def put(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)

    return PackedBatch(
        input_ids=put(np.concatenate(ids)),
        positions=put(np.concatenate(positions)),
        prefix_groups=tuple(prefix_groups),
        predicting=put(predicting),
        targets=put(all_labels[predicting]),
        owners=put(np.concatenate(owners)[predicting]),
        count=len(sequences),
    )


def _find_prefix_groups(sequences: Sequence[TokenSequence]) -> list[tuple[int, list[int]]]:
    """Group sequences by their prefix; return the length of each shared prefix and the members."""
    order = sorted(range(len(sequences)), key=lambda index: sequences[index].input_ids)
    groups: list[tuple[int, list[int]]] = [(_count_sharable(sequences[order[0]]), [order[0]])]
    for before, index in pairwise(order):
        sharable = min(_count_common(sequences[before], sequences[index]), _count_sharable(sequences[index]))
        prefix, members = groups[-1]
        if min(sharable, prefix) >= SHORTEST_PREFIX:
            groups[-1] = (min(sharable, prefix), [*members, index])
        else:
            groups.append((_count_sharable(sequences[index]), [index]))
    alone = sorted(members[0] for _, members in groups if len(members) == 1)
    prefix_groups = [(prefix, members) for prefix, members in groups if len(members) > 1]
    return [*prefix_groups, (0, alone)] if alone else prefix_groups


def _count_common(left: TokenSequence, right: TokenSequence) -> int:
    for count, (one, other) in enumerate(zip(left.input_ids, right.input_ids, strict=False)):
        if one != other:
            return count
    return min(len(left), len(right))


def _count_sharable(sequence: TokenSequence) -> int:
    """Count the leading tokens that predict no label; at least one token stays in the sequence itself."""
    for position, label in enumerate(sequence.labels[1:]):
        if label != IGNORED:
            return position
    return len(sequence) - 1
