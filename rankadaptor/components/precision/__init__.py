"""Precision: the engine's tensor types and affine grids, and the weights as they come back from them."""

from __future__ import annotations

from rankadaptor.components.precision.formats import (
    NONE,
    Format,
    Grid,
    choose_formats,
    find_format,
    measure_rounding,
)

__all__ = ["NONE", "Format", "Grid", "choose_formats", "find_format", "measure_rounding"]
