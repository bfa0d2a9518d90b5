"""A pico model with halves that can be narrowed, and its elastic space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter.lora.attach import list_adapter_parameters
from rankadaptor.recipe import Recipe
from rankadaptor.supernet import build_elastic_space
from tests.training.conftest import compute, rows, sequences

__all__ = ["compute", "rows", "sequences"]

SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # one KV group has 32 columns


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(learning_rate=1e-2, batch_size=4, micro_batch_size=4, sequence_length=96, steps=40)


@pytest.fixture
def build(pico_model: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that builds a model of a family and its space of all components."""

    def make(family: str = "llama", blocks: int = 3, **given: Any) -> tuple[Any, Any]:
        model = pico_model(family, blocks, tie_word_embeddings=family in ("llama", "qwen3"), **SIZES)
        settings = {"ranks": (0, 2, 4), "attention": True, "depth": True, "levels": 4, "kind": "F16"} | given
        return model, build_elastic_space(model, **settings)

    return make


def shake(peft_model: Any) -> None:
    """Make the adapter differ from its initialisation, B no longer zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in list_adapter_parameters(peft_model).values():
            value += 0.1 * torch.randn(value.shape, generator=generator)
