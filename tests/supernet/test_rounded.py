"""Slices that are trained through a type: merged, they are the slice that was set, exactly, and as sparse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.adapter.tuners.merging import merge_trained
from rankadaptor.components.precision.formats import round_trip
from rankadaptor.components.sparsity import apply_masks, choose_masks, find_masks
from rankadaptor.errors import InputError
from rankadaptor.methods import LORA, find_method
from rankadaptor.model.families import describe_linears
from rankadaptor.supernet import SuperNetwork, find_smallest, find_widest
from rankadaptor.supernet.storage import Trained, load_super_network, save_super_network
from rankadaptor.supernet.training import train_super_network
from tests.supernet.test_network import draw, open_trained, read_logits

RANKS = {"ranks": (1, 2, 4), "width": False, "attention": False, "depth": False}


def name_types(model, kind):
    return {linear.name: kind for linear in describe_linears(model)}


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_merged_slice_is_the_slice_that_is_set_and_keeps_its_zeros(build, recipe, family, kind):
    model, space = build(family, **RANKS)
    apply_masks(model, choose_masks(model, 0.5))
    masks, before = find_masks(model), read_logits(model)
    seen = []
    with open_trained(model, space, recipe, types=name_types(model, kind)) as network:
        assert torch.equal(read_logits(model), before)
        for allocation in [find_widest(space), find_smallest(space), *draw(space, 2)]:
            with network.applied(allocation):
                logits = read_logits(model)
            found = network.extract(allocation).model
            assert torch.equal(read_logits(found), logits)
            merged = merge_trained(found, find_method(LORA))
            assert torch.equal(read_logits(merged), logits)
            for name, mask in masks.items():
                weight = merged.get_submodule(name).weight
                assert not weight[~mask].any()
                values = weight.detach().numpy()
                assert np.array_equal(round_trip(values, kind), values)
            seen.append(logits)
        assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert torch.equal(read_logits(model), before)


def test_training_goes_through_the_rounding_and_storage_keeps_it(build, recipe, sequences, compute, tmp_path):
    model, space = build(**RANKS)
    apply_masks(model, choose_masks(model, 0.5))
    with SuperNetwork(model, space, recipe, types=name_types(model, "Q4_0")) as network:
        result = train_super_network(network, sequences, steps=12, compute=compute, rule="random")
        assert sum(result.losses[-3:]) < sum(result.losses[:3])
        save_super_network(network, tmp_path, trained=Trained(12, "random", result.tokens, 1.0))
        network.set(find_widest(space))
        logits = read_logits(model)
    with load_super_network(model, tmp_path) as loaded, loaded.applied(find_widest(space)):
        assert loaded.types == name_types(model, "Q4_0")
        assert torch.equal(read_logits(model), logits)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"width": True}, "only where widths and depth are fixed"), ({"ranks": (0, 2)}, "ranks above 0")],
)
def test_types_need_whole_adapted_linears(build, recipe, changes, complaint):
    model, space = build(**RANKS | changes)
    with pytest.raises(InputError, match=complaint):
        SuperNetwork(model, space, recipe, types=name_types(model, "Q4_0"))
