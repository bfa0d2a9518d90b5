"""Widths: MLP channels and KV groups, ordered by importance so that keeping n means the first n."""

from __future__ import annotations

from rankadaptor.components.width.halves import Half, Part, describe_halves
from rankadaptor.components.width.menu import CHANNEL_STEP, LEVELS, choose_widths
from rankadaptor.components.width.orders import list_indices, order_groups

__all__ = [
    "CHANNEL_STEP", "LEVELS", "Half", "Part", "choose_widths", "describe_halves", "list_indices",
    "order_groups",
]  # fmt: skip
