"""The fixtures of the training tests."""

from __future__ import annotations

from tests.training.conftest import compute, mixed, model, recipe, rows, sequences, space

__all__ = ["compute", "mixed", "model", "recipe", "rows", "sequences", "space"]
