from __future__ import annotations

import pytest
import torch
from peft import PeftModel

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.data.sequences import tokenise_rows
from rankadaptor.errors import TrainingError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.pruning import prune
from rankadaptor.recovery import recover


def test_recovered_adapter_lowers_the_loss_and_loads_plainly(
    model, mixed, recipe, rows, pico_tokenizer, compute, pico_model, tmp_path
):
    held_out = tokenise_rows(rows[16:], pico_tokenizer, max_length=96)
    before = measure_loss(model, held_out, compute=compute)
    adapter = recover(
        model, pico_tokenizer, mixed, data=rows[:16], held_out=rows[16:], recipe=recipe, compute=compute,
        checkpoint=tmp_path / "checkpoint",
    )  # fmt: skip
    after = measure_loss(adapter, held_out, compute=compute)
    assert after.mean < before.mean - 1
    assert not adapter.training
    adapter.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(pico_model("llama", 2), str(tmp_path / "adapter"))
    assert measure_loss(loaded, held_out, compute=compute) == after


def test_an_extracted_model_without_some_halves_is_recovered(
    pico_model, recipe, rows, pico_tokenizer, compute, tmp_path
):
    model = pico_model("llama", 3)
    space = build_space(model, precision="F16")
    values = [slot.options[-1] for slot in space.slots]
    values[2], values[5] = (0, "none"), (32, "F16")  # no attention in block 0, half an MLP in block 1
    small, _ = LiveModel(model, importance="random").extract(space.allocation(values))
    ranks = RankSpace.from_model(small, like_uniform=4)
    assert "model.layers.0.self_attn.q_proj" not in {name for slot in ranks.slots for name in slot.modules}
    held_out = tokenise_rows(rows[16:], pico_tokenizer, max_length=96)
    before = measure_loss(small, held_out, compute=compute)
    adapter = recover(
        small, pico_tokenizer, ranks.reference(), data=rows[:16], recipe=recipe, compute=compute
    )
    assert measure_loss(adapter, held_out, compute=compute).mean < before.mean - 1
    adapter.save_pretrained(tmp_path / "adapter")
    save_pruned(small, None, tmp_path / "small")
    loaded = PeftModel.from_pretrained(load_checkpoint(tmp_path / "small"), str(tmp_path / "adapter"))
    assert measure_loss(loaded, held_out, compute=compute) == measure_loss(adapter, held_out, compute=compute)
    again = prune(small, None, ratio=0.3, importance="l2")
    assert again.num_parameters() < small.num_parameters()


def test_a_failed_recovery_leaves_the_model_bare(model, mixed, recipe, rows, pico_tokenizer, compute):
    logits = model(input_ids=torch.tensor([[4, 5, 6]])).logits
    wild = recipe.replace(learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(TrainingError):
        recover(model, pico_tokenizer, mixed, data=rows, recipe=wild, compute=compute)
    assert not any("lora" in name for name, _ in model.named_modules())
    assert torch.equal(model(input_ids=torch.tensor([[4, 5, 6]])).logits, logits)
