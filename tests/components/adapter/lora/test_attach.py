from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from peft import PeftModel

from rankadaptor.components.adapter import read_ranks
from rankadaptor.components.adapter.lora.attach import (
    adapt_temporarily,
    attach_adapter,
    detach_adapter,
    draw_down_rows,
    list_adapter_parameters,
    lora_config,
)
from rankadaptor.errors import InputError

TOKENS = torch.tensor([[5, 9, 33, 80, 12, 7], [4, 4, 90, 21, 3, 60]])


def read_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def train_by_hand(peft_model: Any) -> None:
    """Give B numbers that differ from zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in list_adapter_parameters(peft_model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def snapshot(model: Any) -> dict[str, Any]:
    return {
        "id": id(model),
        "modules": {name: (type(module), module.training) for name, module in model.named_modules()},
        "flags": {name: value.requires_grad for name, value in model.named_parameters()},
        "grads": {name: value.grad is None for name, value in model.named_parameters()},
        "attributes": sorted(key for key in model.__dict__ if not key.startswith("__")),
        "config": model.config.to_dict(),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
    }


def test_config_names_every_linear_in_full(mixed, recipe):
    config = lora_config(mixed, recipe)
    ranks = {name: rank for name, rank in read_ranks(mixed).items() if rank}
    assert set(config.target_modules) == set(ranks)
    assert config.rank_pattern == ranks
    assert config.alpha_pattern == {name: recipe.scale(rank) * rank for name, rank in ranks.items()}
    assert 0 in read_ranks(mixed).values()


def test_scale_follows_the_exponent(model, mixed, recipe):
    for exponent in (0.0, 0.5, 1.0):
        chosen = recipe.replace(scaling_exponent=exponent)
        with adapt_temporarily(model, mixed, chosen, seed=0) as peft_model:
            modules = dict(peft_model.get_base_model().named_modules())
            for name, rank in read_ranks(mixed).items():
                if rank:
                    assert modules[name].scaling["default"] == pytest.approx(chosen.scale(rank), rel=1e-12)
                else:
                    assert type(modules[name]) is torch.nn.Linear


def test_plain_peft_reads_it_with_equal_logits_and_merges(model, mixed, recipe, pico_model, tmp_path):
    peft_model = attach_adapter(model, mixed, recipe, seed=3)
    train_by_hand(peft_model)
    expected = read_logits(peft_model)
    peft_model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert set(saved["target_modules"]) == {name for name, rank in read_ranks(mixed).items() if rank}
    loaded = PeftModel.from_pretrained(pico_model("llama", 2), str(tmp_path))
    assert (read_logits(loaded) - expected).abs().max() == 0.0
    assert (expected - read_logits(pico_model("llama", 2))).abs().max() > 0.01
    merged = loaded.merge_and_unload()
    assert (read_logits(merged) - expected).abs().max() < 1e-5
    assert not any("lora" in name for name, _ in merged.named_modules())


def test_untrained_adapter_changes_nothing(model, mixed, recipe):
    before = read_logits(model)
    assert torch.equal(read_logits(attach_adapter(model, mixed, recipe, seed=0)), before)


def test_adapters_of_one_seed_are_nested(model, space, mixed, recipe):
    def read_down(allocation: Any, seed: int) -> dict[str, torch.Tensor]:
        with adapt_temporarily(model, allocation, recipe, seed=seed) as peft_model:
            named = dict(peft_model.get_base_model().named_modules())
            return {
                name: named[name].lora_A["default"].weight.detach().clone()
                for name, rank in read_ranks(allocation).items()
                if rank
            }

    uniform, other, elsewhere = read_down(space.reference(), 0), read_down(mixed, 0), read_down(mixed, 1)
    for name, rows in other.items():
        shared = min(len(rows), len(uniform[name]))
        assert torch.equal(rows[:shared], uniform[name][:shared])
        assert not torch.equal(rows, elsewhere[name])
    assert not torch.equal(*(uniform[name] for name in list(uniform)[:2]))


def test_start_has_the_distribution_of_peft():
    rows = draw_down_rows("a.b", 64, 100, seed=0)
    assert rows.abs().max() <= 0.1
    assert rows.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.03)


def test_adapter_is_float32_on_a_bfloat16_model(model, mixed, recipe):
    peft_model = attach_adapter(model.to(torch.bfloat16), mixed, recipe, seed=0)
    assert {value.dtype for value in list_adapter_parameters(peft_model).values()} == {torch.float32}


def test_detaching_leaves_no_trace(model, mixed, recipe):
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    before, logits = snapshot(model), read_logits(model)
    for allocation in (mixed, mixed.space.reference()):
        peft_model = attach_adapter(model, allocation, recipe, seed=0)
        train_by_hand(peft_model)
        assert detach_adapter(peft_model) is model
    assert snapshot(model) == before
    assert torch.equal(read_logits(model), logits)


def test_attaching_leaves_the_global_generator_alone(model, mixed, recipe):
    state = torch.get_rng_state()
    attach_adapter(model, mixed, recipe, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_inside_leaves_no_trace(model, mixed, recipe):
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt), adapt_temporarily(model, mixed, recipe, seed=0):
        raise KeyboardInterrupt
    assert snapshot(model) == before


def test_all_zero_ranks_are_refused(space, recipe):
    with pytest.raises(InputError, match="nothing to train"):
        lora_config(space.allocation([0] * space.n_slots), recipe)


def test_linears_of_another_model_are_refused(mixed, recipe, pico_model):
    smaller = pico_model("llama", 1)
    before = snapshot(smaller)
    with pytest.raises(InputError, match=r"model\.layers\.1.*no such linear"):
        attach_adapter(smaller, mixed, recipe, seed=0)
    assert snapshot(smaller) == before


def test_a_second_adapter_is_refused(model, mixed, recipe):
    peft_model = attach_adapter(model, mixed, recipe, seed=0)
    for given in (peft_model, model):
        with pytest.raises(InputError, match="carries an adapter already"):
            attach_adapter(given, mixed, recipe, seed=0)


def test_it_fits_an_unevenly_pruned_model_loaded_again(
    model, recipe, compute, pico_tokenizer, rows, tmp_path
):
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.model import save_pruned
    from rankadaptor.named_models import load
    from rankadaptor.pruning import prune

    pruned = prune(model, pico_tokenizer, ratio=0.3, calibration=rows, skip_last=1, align=8, length=32)
    save_pruned(pruned, pico_tokenizer, tmp_path / "pruned")
    space = RankSpace.from_model(pruned, like_uniform=2, slots="linear", ranks=(0, 1, 2, 4))
    peft_model = attach_adapter(pruned, space.sample(1, seed=0)[0], recipe, seed=0)
    train_by_hand(peft_model)
    peft_model.save_pretrained(tmp_path / "adapter")
    again, _ = load(tmp_path / "pruned", compute=compute)
    loaded = PeftModel.from_pretrained(again, str(tmp_path / "adapter"))
    assert (read_logits(loaded) - read_logits(peft_model)).abs().max() == 0.0


def test_scale_slots_are_written_into_the_alphas_and_ranks_stay() -> None:
    from rankadaptor.components.adapter import RankSpace, add_scales
    from rankadaptor.recipe import Recipe
    from tests.space.shapes import build_linears

    ranks = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="linear")
    space, recipe = add_scales(ranks), Recipe(reference_rank=4)
    values = list(space.reference().values)
    values[[slot.name for slot in space.slots].index("scale.q_proj")] = 200
    plain, scaled = (lora_config(a, recipe) for a in (ranks.reference(), space.allocation(values)))
    assert scaled.rank_pattern == plain.rank_pattern
    for name, alpha in plain.alpha_pattern.items():
        assert scaled.alpha_pattern[name] == alpha * (2 if name.endswith("q_proj") else 1)
