"""A group of one process changes nothing; parts of a batch are even; what cannot be shared is refused."""

from __future__ import annotations

import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.recipe import Recipe
from rankadaptor.training.process_group import ALONE, ProcessGroup, join_process_group


def test_parts_are_disjoint_and_even() -> None:
    lengths = sorted([9, 3, 7, 1, 5, 8, 2, 6])
    parts = [ProcessGroup(index, 4).share(lengths) for index in range(4)]
    assert sorted(length for part in parts for length in part) == lengths
    assert max(map(sum, parts)) - min(map(sum, parts)) <= 12
    assert {len(part) for part in parts} == {2}


def test_alone_is_the_default_and_exchanges_nothing(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_process_group(device="cpu") as group:
        assert group == ALONE
    assert group.leads
    parameter = torch.nn.Parameter(torch.ones(2))
    group.sum_gradients([parameter])
    assert parameter.grad is None
    assert group.sum_numbers(1.5, 2) == (1.5, 2)
    group.wait()
    group.check_step(3, device="cpu")


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    ProcessGroup(0, 4).check_batch(Recipe(batch_size=8))
    with pytest.raises(InputError, match=r"batch_size=8.*3 processes"):
        ProcessGroup(0, 3).check_batch(Recipe(batch_size=8))
