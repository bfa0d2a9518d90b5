"""Depth: attention, MLP or both are left out of a block; the label of a dropped half is width 0."""

from __future__ import annotations

from rankadaptor.components.depth.dropping import DROPPED, drop_live, is_dropped

__all__ = ["DROPPED", "drop_live", "is_dropped"]
