"""The pico model, rows and space of the recovery tests, and a short fine-tune over them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.conftest import compute, mixed, model, recipe, rows, sequences, space

__all__ = ["compute", "mixed", "model", "recipe", "rows", "sequences", "short", "space"]


@pytest.fixture
def short(model: Any, pico_tokenizer: Any, rows: Any, recipe: Any, compute: Any) -> Any:
    from rankadaptor.measure.fine_tune import ShortFineTune

    return ShortFineTune(
        model, pico_tokenizer, data=rows[:16], held_out=rows[16:], recipe=recipe, steps=4, compute=compute
    )
