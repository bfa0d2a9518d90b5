"""What every family must hold: a slice that is extracted is the slice that is set, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.adapter import read_ranks
from rankadaptor.errors import InputError
from rankadaptor.model import FAMILIES, describe_model, digest_model, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.recipe import Recipe
from rankadaptor.space import Allocation
from rankadaptor.supernet import SuperNetwork, build_elastic_space, find_smallest, find_widest
from tests.supernet.conftest import shake

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))
COMPONENTS = {"mlp": "block{}.mlp", "attention": "block{}.attention", "rank": "block{}.mlp.rank"}


def draw(space, count, *, seed=0):
    generator = np.random.default_rng(seed)
    return [
        Allocation(tuple(int(generator.integers(len(slot.options))) for slot in space.slots), space)
        for _ in range(count)
    ]


def read_logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def open_trained(model, space, recipe, **given):
    network = SuperNetwork(model, space, recipe, **given)
    network.set(find_widest(space))
    shake(network.peft_model)
    network.set(None)
    return network


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_extracted_slice_is_the_slice_that_is_set(build, recipe, tmp_path, family):
    model, space = build(family)
    before, digest, names = read_logits(model), digest_model(model), list(model.state_dict())
    sequences = TOKENS if family == "llama" else None
    with open_trained(model, space, recipe, sequences=sequences) as network:
        assert torch.equal(read_logits(model), before)  # nothing is set: the model itself
        seen = []
        for number, allocation in enumerate(
            [find_widest(space), find_smallest(space), *draw(space, 5, seed=2)]
        ):
            network.set(allocation)
            logits = read_logits(model)
            seen.append(logits)
            found = network.extract(allocation)
            assert torch.equal(read_logits(found.model), logits)
            assert network.chosen == allocation
            adapted = {
                name.removesuffix(".lora_A.default.weight")
                for name, _ in found.model.named_parameters()
                if "lora_A" in name
            }
            ranks = read_ranks(allocation)
            assert {ranks[name.removeprefix("base_model.model.")] for name in adapted} <= {2, 4}
            small = found.model.unload() if adapted else found.model
            assert small.num_parameters() == allocation.cost("parameters")
            assert describe_model(small, repeats=0)["macs"] == 64 * allocation.cost("macs")
            if number == 2:
                assert torch.equal(
                    read_logits(load_checkpoint(save_pruned(small, None, tmp_path / "small"))),
                    read_logits(small),
                )
        assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
        network.set(None)
        assert torch.equal(read_logits(model), before)
    assert torch.equal(read_logits(model), before)
    assert (digest_model(model), list(model.state_dict())) == (digest, names)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_one_component_alone_changes_what_it_should(build, recipe, family, component):
    model, space = build(family)
    widest = find_widest(space)
    names = [slot.name for slot in space.slots]
    with open_trained(model, space, recipe) as network:
        network.set(widest)
        whole = read_logits(model)
        for block in range(2):
            place = names.index(COMPONENTS[component].format(block))
            for choice in range(len(space.slots[place].options) - 1):
                choices = list(widest.choices)
                choices[place] = choice
                allocation = Allocation(tuple(choices), space)
                network.set(allocation)
                logits = read_logits(model)
                assert not torch.equal(logits, whole)
                assert torch.equal(read_logits(network.extract(allocation).model), logits)
        network.set(widest)
        assert torch.equal(read_logits(model), whole)


def test_the_adapter_of_a_smaller_slice_is_part_of_the_larger_ones(build, recipe):
    model, space = build("llama", depth=False, attention=False)
    with open_trained(model, space, recipe) as network:
        shared, whole = network.read_weights(), network.extract(find_widest(space)).model
        choices = [max(len(slot.options) - 2, 0) for slot in space.slots]  # half of the rank, three quarters
        small = network.extract(Allocation(tuple(choices), space)).model
        order = network._live.order("block1.mlp")[:96]
    name = "model.layers.1.mlp.up_proj"
    for letter, kept in (("A", (slice(0, 2), slice(None))), ("B", (order, slice(0, 2)))):
        key = f"base_model.model.{name}.lora_{letter}.default.weight"
        wide, narrow = whole.state_dict()[key], small.state_dict()[key]
        assert torch.equal(wide, shared[f"{name}.{letter}"])
        assert torch.equal(narrow, wide[kept[0]][:, kept[1]])
    assert small.get_base_model().model.layers[1].mlp.up_proj.weight.shape == (96, 64)


def test_a_slice_merges_into_a_smaller_model(build, recipe):
    model, space = build("qwen2")
    allocation = space.reference("middle")
    with open_trained(model, space, recipe) as network:
        network.set(allocation)
        logits = read_logits(model)
        found = network.extract(allocation)
    merged = found.model.merge_and_unload()
    assert torch.allclose(read_logits(merged), logits, atol=1e-4)
    assert merged.num_parameters() == allocation.cost("parameters")
    assert set(found.types.values()) == {"F16"}


def test_weights_go_from_one_super_network_into_another(build, recipe):
    model, space = build("llama")
    allocation = draw(space, 1, seed=5)[0]
    with open_trained(model, space, recipe, seed=1) as network:
        weights, scores = network.read_weights(), network.scores
        with network.applied(allocation):
            logits = read_logits(model)
    with SuperNetwork(build("llama")[0], space, recipe, seed=2, scores=scores) as other:
        other.load_weights(weights)
        other.set(allocation)
        assert torch.equal(read_logits(other.model), logits)
        del weights["model.layers.0.mlp.up_proj.A"]
        with pytest.raises(InputError, match=r"up_proj\.A has shape None, needed is \(4, 64\)"):
            other.load_weights(weights)


def test_a_model_in_bfloat16_is_sliced_too(build, recipe):
    model, space = build("qwen3")
    model.bfloat16()
    with open_trained(model, space, recipe) as network:
        for allocation in draw(space, 3):
            network.set(allocation)
            logits = read_logits(model)
            assert torch.equal(read_logits(network.extract(allocation).model), logits)


def test_the_scale_of_a_slice_is_that_of_its_rank(build):
    model, space = build("llama", depth=False)
    recipe = Recipe(scaling_exponent=0.5, reference_rank=4)
    with open_trained(model, space, recipe) as network:
        small = network.extract(find_widest(space)).model
    layer = small.get_base_model().model.layers[0].mlp.up_proj
    assert layer.scaling["default"] == recipe.scale(4)


def test_what_does_not_fit_is_refused(build, recipe):
    model, space = build("llama")
    other = build_elastic_space(model, ranks=(0, 2), kind="F16")
    with SuperNetwork(model, space, recipe) as network:
        with pytest.raises(InputError, match=r"Use an allocation of network\.space"):
            network.set(other.reference())
        with pytest.raises(InputError, match="carries an adapter"):
            SuperNetwork(model, space, recipe)
    foreign = build("llama", blocks=4)[1]
    with pytest.raises(InputError, match="is not one of this model's"):
        SuperNetwork(model, foreign, recipe)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_the_space_of_a_super_network(build):
    model, space = build("llama", depth=False, attention=True, smallest=0.5)
    by_name = {slot.name: slot for slot in space.slots}
    assert by_name["block0.mlp"].options == ((64, "F16"), (96, "F16"), (128, "F16"))
    assert by_name["block0.mlp.rank"].options == (0, 2, 4)
    assert by_name["block0.attention"].options == ((1, "F16"), (2, "F16"))
    middle = space.reference("middle").by_slot()
    assert middle["block1.mlp"] == (96, "F16")
    assert middle["block1.mlp.rank"] == 2
    assert middle["block1.attention"] == (2, "F16")
    assert space.reference().cost("parameters") == model.num_parameters()
    limited = build_elastic_space(model, ranks=(2, 4), kind="F16", limits={"parameters": "80%"})
    assert limited.limits[0].bound == int(model.num_parameters() * 0.8)
    for given, complaint in (
        ({"ranks": (0,)}, "at least one rank above 0"),
        ({"smallest": 0.0}, "above 0 and at most 1"),
        ({"kind": "Q9"}, "Q9"),
    ):
        with pytest.raises(InputError, match=complaint):
            build_elastic_space(model, **{"kind": "F16"} | given)
