"""Slots, options, costs, limits and references; nothing here imports torch or knows what an option means."""

from __future__ import annotations

from rankadaptor.space.allocation import Allocation
from rankadaptor.space.limits import Limit
from rankadaptor.space.moves import breed
from rankadaptor.space.slot import Label, Slot, Values
from rankadaptor.space.space import Space

__all__ = ["Allocation", "Label", "Limit", "Slot", "Space", "Values", "breed"]
