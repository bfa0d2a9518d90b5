"""Methods together with teachers, quantised models, trials, merges for export and benchmarks."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel

from rankadaptor.components.adapter.tuners.attach import attach_method
from rankadaptor.deployment.merging import merge_adapter
from rankadaptor.errors import InputError
from rankadaptor.methods import METHODS
from rankadaptor.model import save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.pipeline.compression.recovering import recover_merged
from rankadaptor.recovery import recover
from rankadaptor.recovery.trial import train_trial
from rankadaptor.requirements import BITSANDBYTES, hide_if_broken
from rankadaptor.training.loss import SequenceLosses, make_device_batch, sum_losses
from tests.recovery.test_methods import STEPS, make_recipe, read_logits, train

hide_if_broken(BITSANDBYTES)


@pytest.mark.parametrize(
    "name", ["dora", "adalora", "ia3", "prompt_tuning", "prefix_tuning", "bottleneck", "full"]
)
def test_every_kind_of_method_follows_a_teacher(name, model, pico_model, sequences, compute):
    recipe = make_recipe(name, loss="distill")
    _, result = train(model, recipe, sequences, compute, teacher=pico_model("llama", 2, seed=1))
    assert result.losses[-1] < result.losses[0]
    assert result.teacher_tokens > 0


def test_block_outputs_are_not_compared_behind_virtual_tokens():
    with pytest.raises(InputError, match="reads more tokens than its teacher"):
        make_recipe("prompt_tuning", loss="distill", hidden_weight=0.5)


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning"])
def test_losses_behind_virtual_tokens_are_peft_s_own(name, model, sequences, compute):
    trained, _ = train(model, make_recipe(name), sequences, compute)
    batch = make_device_batch(sequences[:4], compute)
    with torch.no_grad():
        ours = sum_losses(trained.eval(), batch)
        labels = batch["labels"]
        logits = trained(input_ids=batch["input_ids"]).logits[:, -labels.shape[1] :]
        theirs = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none"
        )
    torch.testing.assert_close(ours, theirs.view(4, -1).sum(dim=1), rtol=1e-5, atol=1e-5)
    assert SequenceLosses(trained, compute, training=False).packed is None


@pytest.mark.parametrize("name", ["qlora", "dora", "adalora", "ia3", "prompt_tuning", "bottleneck"])
def test_adapters_train_on_linears_in_four_bits(name, pico_model, rows, pico_tokenizer, compute, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = pico_model("llama", 2, hidden_size=64, intermediate_size=128, head_dim=16)
    save_pruned(model, None, tmp_path / "model")
    base = load_checkpoint(tmp_path / "model", quantise="nf4")
    before = read_logits(base)
    trained = recover(base, pico_tokenizer, data=rows, recipe=make_recipe(name), compute=compute)
    assert torch.equal(read_logits(base), before)
    expected = read_logits(trained)
    assert not torch.allclose(expected, before, atol=1e-3)
    trained.save_pretrained(tmp_path / "adapter")
    if METHODS[name].saved == "PEFT adapter":
        again = load_checkpoint(tmp_path / "model", quantise="nf4")
        loaded = PeftModel.from_pretrained(again, str(tmp_path / "adapter")).eval()
        torch.testing.assert_close(read_logits(loaded), expected, rtol=0, atol=1e-5)
    if name == "qlora":
        with pytest.raises(InputError, match="are quantised, which have no"):
            recover(base, pico_tokenizer, data=rows, recipe=make_recipe("full"), compute=compute)


@pytest.mark.parametrize("name", ["rslora", "dora"])
def test_trials_of_ranked_methods_leave_the_model_as_it_was(name, model, mixed, sequences, compute):
    before = read_logits(model)
    given = {"sequences": sequences[:16], "held_out": sequences[16:], "seed": 0, "compute": compute}
    trial = train_trial(model, mixed, make_recipe(name), steps=3, **given)
    plain = train_trial(model, mixed, make_recipe("lora"), steps=3, **given)
    assert trial.error is None
    assert trial.loss != plain.loss
    assert torch.equal(read_logits(model), before)


@pytest.mark.parametrize("name", ["prefix_tuning", "bottleneck"])
def test_exports_refuse_what_cannot_be_merged(name, model, tmp_path):
    base = copy.deepcopy(model)
    trained = attach_method(model, make_recipe(name), steps=STEPS, seed=0)
    trained.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be merged into the weights"):
        merge_adapter(trained, None)
    with pytest.raises(InputError, match="cannot be merged into the weights"):
        merge_adapter(base, tmp_path)


@pytest.mark.parametrize("name", ["ia3", "full", "full_frozen_embeddings", "adalora"])
def test_compressions_merge_the_method_s_result(name, model, sequences, compute):
    given = {"sequences": sequences, "steps": STEPS, "seed": 0, "compute": compute}
    done = recover_merged(model, make_recipe(name), **given)
    assert done.losses[-1] < done.losses[0]
    assert {value.dtype for value in done.model.parameters()} == {torch.float32}
    with pytest.raises(InputError, match="cannot be merged"):
        recover_merged(model, make_recipe("prefix_tuning"), **given)


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning", "bottleneck"])
def test_benchmarks_see_the_logits_of_the_text_alone(name, model, pico_tokenizer):
    pytest.importorskip("lm_eval")
    from rankadaptor.evaluation.harness import ModelInMemory

    trained = attach_method(model, make_recipe(name), steps=STEPS, seed=0).eval()
    interface = ModelInMemory(trained, pico_tokenizer, batch_size=2)
    tokens = torch.tensor([[4, 5, 6, 9, 40, 31]])
    assert torch.equal(interface._model_call(tokens), read_logits(trained))
    assert trained.generate(input_ids=tokens, max_new_tokens=3, min_new_tokens=3).shape[1] >= 3
