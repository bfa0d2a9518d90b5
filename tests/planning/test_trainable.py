"""Planned numbers of trained parameters are those of the attached methods."""

from __future__ import annotations

import pytest

from rankadaptor.components.adapter.tuners.attach import attach_method
from rankadaptor.methods import METHODS, find_method
from rankadaptor.planning.shape import read_shape
from rankadaptor.planning.trainable import count_trainable
from rankadaptor.recipe import Recipe


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "qlora"])
def test_counts_are_those_of_the_attached_method(name, tied, pico_model, tmp_path):
    model = pico_model("llama", 2, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    trained = attach_method(model, Recipe(method=name, reference_rank=4), steps=20, seed=0)
    found = sum(value.numel() for value in trained.parameters() if value.requires_grad)
    assert count_trainable(find_method(name), read_shape(str(tmp_path)), rank=4) == found
