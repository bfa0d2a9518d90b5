from __future__ import annotations

import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.model import describe_model
from rankadaptor.pruning import prune


def test_counts_equal_a_trace_of_the_forward_pass(pico_model) -> None:
    model = pico_model("qwen2", 2)
    length, counted = 16, []
    handles = [
        module.register_forward_hook(
            lambda m, args, _out: counted.append(args[0].numel() // m.in_features * m.weight.numel())
        )
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        model(torch.zeros(1, length, dtype=torch.long))
    for handle in handles:
        handle.remove()
    attention = 2 * 2 * length * length * 4 * 8  # blocks · (scores, mixing) · length² · heads · head_dim
    described = describe_model(model, length=length, repeats=0)
    assert described["macs"] == sum(counted) + attention
    assert described["parameters"] == sum(p.numel() for p in model.parameters())
    assert described["tokens_per_second"] is None


def test_a_pruned_model_has_fewer_operations_and_a_speed(pico_model, pico_tokenizer) -> None:
    model = pico_model("llama", 2)
    pruned = prune(model, None, ratio=0.5, importance="l2")
    whole, small = (
        describe_model(each, tokenizer=pico_tokenizer, length=8, repeats=1) for each in (model, pruned)
    )
    assert whole["tokens_per_second"] > 0
    assert 0 < small["macs"] < whole["macs"]
    achieved = pruned.config.rankadaptor["achieved_ratio"]
    assert 1 - small["parameters"] / whole["parameters"] == pytest.approx(achieved)


def test_bytes_follow_the_precision_and_modes_are_kept(pico_model) -> None:
    model = pico_model("llama", 1).train()
    whole = describe_model(model, repeats=1)
    assert model.training
    assert describe_model(model.to(torch.bfloat16), repeats=0)["bytes"] < 0.6 * whole["bytes"]
    with pytest.raises(InputError, match="length=0"):
        describe_model(model, length=0)


def test_a_model_with_an_adapter_is_described_without_it(pico_model) -> None:
    from peft import LoraConfig, get_peft_model

    plain = describe_model(pico_model("llama", 2), repeats=0)
    assert plain["adapter_parameters"] == 0
    config = LoraConfig(r=3, target_modules=["q_proj", "up_proj"], modules_to_save=["lm_head"])
    adapted = get_peft_model(pico_model("llama", 2), config)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    described = describe_model(adapted, repeats=1)
    assert described["tokens_per_second"] > 0
    assert {**described, "tokens_per_second": None} == {**plain, "adapter_parameters": trained}
    assert describe_model(adapted.merge_and_unload(), repeats=0)["macs"] == plain["macs"]
