"""Sparsity: single weights of every linear are set to zero, and stay zero."""

from __future__ import annotations

from rankadaptor.components.sparsity.masks import apply_masks, choose_masks, find_masks, measure_sparsity

__all__ = ["apply_masks", "choose_masks", "find_masks", "measure_sparsity"]
