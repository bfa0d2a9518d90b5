"""Blocks without attention or MLP: saved, loaded, described, generated with, trained and pruned further."""

from __future__ import annotations

import pytest
import torch

from rankadaptor.components.adapter import RankSpace
from rankadaptor.model import FAMILIES, describe_model, digest_model, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.dropped import drop_half, find_cache_places, set_cache_places
from rankadaptor.model.families import describe_blocks, describe_linears, find_family
from rankadaptor.planning.shape import read_shape
from rankadaptor.pruning import prune
from rankadaptor.pruning.surgery import write_shapes

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))
DROPS = ((0, "attention"), (1, "attention"), (1, "mlp"), (3, "mlp"))


@pytest.fixture
def make(pico_model):
    def make(family: str, drops=DROPS):
        model = pico_model(family, 4, tie_word_embeddings=family == "llama")
        for block, half in drops:
            drop_half(model.model.layers[block], half, family=find_family(model))
        set_cache_places(model)
        write_shapes(model)
        return model

    return make


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_dropped_halves_survive_saving_and_generate(make, tmp_path, family, monkeypatch) -> None:
    from transformers import AutoModelForCausalLM, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = make(family)
    folder = save_pruned(model, None, tmp_path / "model")
    loaded = load_checkpoint(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    assert type(loaded) is type(model)
    with torch.no_grad():
        logits = model(TOKENS).logits
        assert all(torch.equal(each(TOKENS).logits, logits) for each in (loaded, plain))
        outputs = [
            each.generate(TOKENS, max_new_tokens=5, min_new_tokens=5, do_sample=False, use_cache=cached)
            for each in (model, loaded, plain)
            for cached in (True, False)
        ]
    assert all(torch.equal(outputs[0], output) for output in outputs)
    assert describe_blocks(loaded) == describe_blocks(plain) == describe_blocks(model)
    widths = [(shape.heads, shape.kv_heads, shape.channels) for shape in describe_blocks(model)]
    assert widths == [(0, 0, 64), (0, 0, 0), (4, 2, 64), (4, 2, 0)]
    save_pruned(plain, None, tmp_path / "again")
    assert digest_model(load_checkpoint(tmp_path / "again")) == digest_model(model)
    shape = read_shape(str(folder))
    linears = describe_linears(model)
    assert [linear.name for linear in shape.linears] == [linear.name for linear in linears]
    facts = describe_model(model, repeats=0)
    assert facts["parameters"] == sum(value.numel() for value in loaded.parameters())
    if family in ("llama", "mistral"):  # the others have biases or norms of heads
        assert shape.parameters == facts["parameters"]
    space = RankSpace.from_model(model, like_uniform=2)
    named = {module for slot in space.slots for module in slot.modules}
    assert named == {linear.name for linear in linears}


def test_a_dropped_half_is_not_computed_and_leaves_the_rest_alone(pico_model) -> None:
    model = pico_model("llama", 3)
    zeroed = pico_model("llama", 3)
    zeroed.load_state_dict(model.state_dict())
    family = find_family(model)
    with torch.no_grad():
        zeroed.model.layers[1].self_attn.o_proj.weight.zero_()
        zeroed.model.layers[0].mlp.down_proj.weight.zero_()
        drop_half(model.model.layers[1], "attention", family=family)
        drop_half(model.model.layers[0], "mlp", family=family)
        assert torch.equal(model(TOKENS).logits, zeroed(TOKENS).logits)
    assert not list(model.model.layers[1].self_attn.parameters())


def test_caches_fill_their_first_places() -> None:
    full, window = "full_attention", "sliding_attention"
    assert find_cache_places([False, True, True], None) == [None, 0, 1]
    kinds = [full, window, full, window]
    assert find_cache_places([False, True, True, True], kinds) == [None, 1, 0, 3]
    assert find_cache_places([True, False, True, True], kinds) == [0, None, 2, 1]


def test_blocks_with_dropped_halves_are_pruned_further(make, tmp_path) -> None:
    model = make("llama")
    for cut in ({"ratio": 0.4}, {"ratio": 0.4, "scope": "global"}, {"ratio": 0.4, "targets": ["blocks"]}):
        pruned = prune(model, None, importance="l2", **cut)
        folder = save_pruned(pruned, None, tmp_path / "pruned")
        with torch.no_grad():
            assert torch.equal(load_checkpoint(folder)(TOKENS).logits, pruned(TOKENS).logits)
            outputs = [
                pruned.generate(TOKENS, max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=cached)
                for cached in (True, False)
            ]
        assert torch.equal(*outputs)
        assert pruned.num_parameters() < model.num_parameters()
