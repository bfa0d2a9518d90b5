"""A pico model, twenty rows about nothing, and a small space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rankadaptor.data.rows import Row
from rankadaptor.data.sequences import TokenSequence, tokenise_rows
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute

ANIMALS = ("fox", "dog", "cat", "owl", "hen", "ant", "bee", "elk", "eel", "emu")


@pytest.fixture(scope="session")
def compute() -> Compute:
    return Compute(device="cpu", dtype="float32", threads=1, reason="tests")


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Twenty instruction rows of unequal length."""
    return [
        Row(
            prompt=f"Question {number}: which animal? " * (1 + number % 3),
            response=f"The {animal} says {number}.",
        )
        for number, animal in enumerate(ANIMALS * 2)
    ]


@pytest.fixture(scope="session")
def sequences(rows: list[Row], pico_tokenizer: Any) -> list[TokenSequence]:
    return tokenise_rows(rows, pico_tokenizer, max_length=96)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(learning_rate=1e-2, batch_size=4, micro_batch_size=4, sequence_length=96, steps=40)


@pytest.fixture
def model(pico_model: Callable[..., Any]) -> Any:
    return pico_model("llama", 2)


@pytest.fixture
def space(model: Any) -> Any:
    from rankadaptor.components.adapter import RankSpace

    return RankSpace.from_model(model, like_uniform=4, slots="linear", ranks=(0, 1, 2, 3, 4, 6, 8))


@pytest.fixture
def mixed(space: Any) -> Any:
    """Ranks 0 to 6 in turn, inside the budget."""
    pattern = (0, 1, 2, 3, 6, 4, 0)
    return space.allocation([pattern[index % len(pattern)] for index in range(space.n_slots)])
