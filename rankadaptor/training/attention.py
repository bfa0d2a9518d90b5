"""Causal attention inside the sequences of a packed batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from rankadaptor.training.packing import PrefixGroup

SHORT = 256
"""Longest sequence whose scores are held as a whole on a CPU.

The backward pass of torch's own attention has a fixed cost there, which makes it 2 to 3 times slower at 128
tokens. The same way is taken without gradients, so that a model that is its own teacher agrees with itself.
"""


def attend_prefix_groups(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    prefix_groups: Sequence[PrefixGroup],
    scaling: float,
) -> torch.Tensor:
    """Attend causally inside each sequence.

    A shared prefix is repeated before the rest of each sequence for the attention only.

    Args:
        query: `(tokens, heads, head_dim)`.
        key: `(tokens, kv_heads, head_dim)`.
        value: As `key`.
        prefix_groups: How tokens belong together, see `PackedBatch`.
        scaling: Factor of the scores.

    Returns:
        `(tokens, heads · head_dim)`.
    """
    sizes = [
        size
        for group in prefix_groups
        for size in ([group.prefix] if group.prefix else [])
        + [count * length for count, length in group.runs]
    ]
    pieces = zip(*(_split(each, sizes) for each in (query, key, value)), strict=True)
    parts = []
    for group in prefix_groups:
        shared = next(pieces) if group.prefix else ()
        for number, (count, length) in enumerate(group.runs):
            own = [piece.view(count, length, *piece.shape[1:]) for piece in next(pieces)]
            if shared:
                before = [piece.expand(count, *piece.shape) for piece in shared]
                own = [torch.cat(both, dim=1) for both in zip(before, own, strict=True)]
            heads = [each.transpose(1, 2) for each in own]
            attended = attend_causally(heads[0], heads[1], heads[2], scaling=scaling).transpose(1, 2)
            if shared:
                first, attended = torch.split(attended, [group.prefix, length], dim=1)
                if number == 0:
                    parts.append(first[0].flatten(1))
            parts.append(attended.reshape(count * length, -1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def attend_causally(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float
) -> torch.Tensor:
    """Attend to a token itself and to those before it.

    Args:
        query: `(n, heads, length, head_dim)`.
        key: `(n, kv_heads, length, head_dim)`.
        value: As `key`.
        scaling: Factor of the scores.

    Returns:
        As `query`.
    """
    count, heads, length, size = query.shape
    groups = key.shape[1]
    if query.device.type != "cpu" or length > SHORT:
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=heads != groups
        )
    # The heads that share a key are rows of one product.
    rows = (query * scaling).reshape(count, groups, -1, size)
    scores = (rows @ key.transpose(2, 3)).view(count, heads, length, length)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    shares = scores.masked_fill_(later, -torch.inf).softmax(-1)
    attended = shares.view(count, groups, -1, length) @ value
    return attended.view(count, heads, length, size)


def _split(tensor: torch.Tensor, sizes: Sequence[int]) -> Sequence[torch.Tensor]:
    return (tensor,) if len(sizes) == 1 else torch.split(tensor, list(sizes))
