"""Batches without padding give the losses and gradients of PEFT's own forward."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora.attach import attach_adapter, list_adapter_parameters
from rankadaptor.components.adapter.lora.nested import attach_nested
from rankadaptor.data.sequences import TokenSequence, make_batch
from rankadaptor.model.dropped import drop_half
from rankadaptor.model.families import find_family
from rankadaptor.pruning import prune
from rankadaptor.runtime import Compute
from rankadaptor.training import attention, fine_tune, products
from rankadaptor.training.loss import SequenceLosses, make_device_batch, sum_losses
from rankadaptor.training.packing import PrefixGroup, pack_sequences

PATTERN = (0, 1, 2, 3, 6, 4, 0)


def attach(model: Any, recipe: Any) -> Any:
    """Attach an adapter of mixed ranks, B no longer zero."""
    space = RankSpace.from_model(model, like_uniform=6, slots="linear", ranks=(0, 1, 2, 3, 4, 6))
    ranks = [PATTERN[(index + index // 7) % len(PATTERN)] for index in range(space.n_slots)]
    peft_model = attach_adapter(model, space.allocation(ranks), recipe, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in list_adapter_parameters(peft_model).values():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    return peft_model


def differentiate(peft_model: Any, losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Go back from unevenly weighted losses; return the losses and the adapter's gradients."""
    peft_model.zero_grad()
    (losses * torch.arange(1.0, len(losses) + 1)).sum().backward()
    parameters = list_adapter_parameters(peft_model)
    return losses.detach(), {name: value.grad.clone() for name, value in parameters.items()}


def build(pico_model: Any, family: str, tokenizer: Any) -> Any:
    extra: dict[str, Any] = {"attention_bias": True, "mlp_bias": True} if family == "llama" else {}
    model = pico_model(family, 3, **extra)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                value += 0.2 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name)))
    # Block 0 keeps its widths, the others lose a head group and channels.
    return prune(model, tokenizer, ratio=0.4, importance="l2", skip_first=1, align=4, examples=2, length=16)


@pytest.mark.parametrize("share", [0.0, 1e9], ids=["merged", "apart"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_it_is_peft(pico_model, pico_tokenizer, recipe, sequences, compute, family, share, monkeypatch):
    monkeypatch.setattr(products, "MERGE_SHARE", share)
    peft_model = attach(build(pico_model, family, pico_tokenizer), recipe)
    mine = SequenceLosses(peft_model, compute, training=True)
    assert mine.packed is not None
    given = sequences[:7]
    theirs = differentiate(peft_model, sum_losses(peft_model, make_device_batch(given, compute)))
    losses, gradients = differentiate(peft_model, mine(given))
    torch.testing.assert_close(losses, theirs[0], rtol=1e-6, atol=2e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[1][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_blocks_without_attention_or_mlp_are_packed_too(
    pico_model, pico_tokenizer, recipe, sequences, compute, family
):
    model = build(pico_model, family, pico_tokenizer)
    for block, half in ((0, "attention"), (1, "mlp"), (2, "attention"), (2, "mlp")):
        drop_half(model.model.layers[block], half, family=find_family(model))
    peft_model = attach(model, recipe)
    mine = SequenceLosses(peft_model, compute, training=True)
    assert mine.packed is not None
    given = sequences[:7]
    theirs = differentiate(peft_model, sum_losses(peft_model, make_device_batch(given, compute)))
    losses, gradients = differentiate(peft_model, mine(given))
    torch.testing.assert_close(losses, theirs[0], rtol=1e-6, atol=2e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[1][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("share", [0.0, 1e9], ids=["merged", "apart"])
def test_a_super_adapter_may_change_its_ranks_between_batches(
    model, recipe, sequences, compute, share, monkeypatch
):
    monkeypatch.setattr(products, "MERGE_SHARE", share)
    space = RankSpace.from_model(model, like_uniform=4, slots="linear", ranks=(0, 1, 2, 3, 4, 6))
    with attach_nested(model, space, recipe, seed=0) as nested:
        with torch.no_grad():
            for value in list_adapter_parameters(nested.peft_model).values():
                value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
        mine = SequenceLosses(nested.peft_model, compute, training=True)
        assert mine.packed is not None
        for ranks in ((6, 0, 3), (0, 1, 6)):
            nested.choose(space.find_choices([ranks[index % 3] for index in range(space.n_slots)]))
            batch = make_device_batch(sequences[:5], compute)
            theirs = differentiate(nested.peft_model, sum_losses(nested.peft_model, batch))
            losses, gradients = differentiate(nested.peft_model, mine(sequences[:5]))
            torch.testing.assert_close(losses, theirs[0], rtol=1e-6, atol=2e-5)
            for name, gradient in gradients.items():
                torch.testing.assert_close(gradient, theirs[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_plain_loop_of_peft_takes_the_same_steps(model, recipe, sequences, compute, pico_model):
    """Transformers' own loss with its mask, torch's AdamW, no code of ours but the order of the data."""
    from rankadaptor.data.sequences import draw_batches

    chosen = recipe.replace(schedule="constant", warmup_share=0.0)
    losses = fine_tune(
        attach(model, chosen), sequences, recipe=chosen, steps=8, seed=0, compute=compute
    ).losses
    plain = attach(pico_model("llama", 2), chosen).train()
    parameters = [value for value in plain.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=chosen.learning_rate, weight_decay=0.0)
    found = []
    for indices in draw_batches(len(sequences), batch_size=chosen.batch_size, steps=8, seed=0):
        batch = make_batch([sequences[index] for index in indices], pad_id=1)
        total = sum(sequences[index].targets for index in indices)
        loss = plain(**batch, num_items_in_batch=total).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, chosen.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert losses == pytest.approx(found, abs=1e-5)


def test_the_peft_model_is_what_was_trained(model, recipe, sequences, compute, tmp_path, pico_model):
    from peft import PeftModel

    peft_model = attach(model, recipe)
    fine_tune(peft_model, sequences, recipe=recipe, steps=3, seed=0, compute=compute)
    peft_model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(pico_model("llama", 2), tmp_path).eval()
    with torch.no_grad():
        mine = SequenceLosses(peft_model, compute, training=False)(sequences[:5])
        theirs = sum_losses(loaded, make_device_batch(sequences[:5], compute))
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=2e-5)


def test_saving_memory_changes_nothing(model, recipe, sequences, compute):
    peft_model = attach(model, recipe).train()
    mine = SequenceLosses(peft_model, compute, training=True)
    whole = differentiate(peft_model, mine(sequences[:4]))
    peft_model.get_base_model().activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": False}
    )
    saving = differentiate(peft_model, mine(sequences[:4]))
    assert torch.equal(whole[0], saving[0])
    for name, gradient in whole[1].items():
        torch.testing.assert_close(gradient, saving[1][name])


def test_bfloat16_is_near(model, recipe, sequences, compute):
    peft_model = attach(model, recipe)
    exact = SequenceLosses(peft_model, compute, training=True)(sequences[:4])
    for value in peft_model.parameters():
        if not value.requires_grad:
            value.data = value.data.bfloat16()
    brief = SequenceLosses(peft_model, Compute("cpu", "bfloat16", 1, "tests"), training=True)
    assert brief.packed is not None
    losses, gradients = differentiate(peft_model, brief(sequences[:4]))
    torch.testing.assert_close(losses, exact.detach(), rtol=0.02, atol=0.0)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def test_float32_weights_are_trained_upon_in_bfloat16(model, recipe, sequences):
    compute = Compute("cpu", "bfloat16", 1, "tests")
    peft_model = attach(model, recipe)
    assert SequenceLosses(peft_model, compute, training=False).packed is None  # judged as precisely as before
    losses = SequenceLosses(peft_model, compute, training=True)
    assert losses.packed is not None
    found, gradients = differentiate(peft_model, losses(sequences[:4]))
    weights = {name: value.dtype for name, value in peft_model.named_parameters()}
    assert set(weights.values()) == {torch.float32}
    first = model.model.layers[0].mlp.up_proj.base_layer
    first.weight = torch.nn.Parameter(first.weight.data * 2, requires_grad=False)  # the copy is renewed
    changed = losses(sequences[:4]).detach()
    assert not torch.equal(changed, found)
    first.weight = torch.nn.Parameter(first.weight.data / 2, requires_grad=False)
    for value in peft_model.parameters():
        if not value.requires_grad:
            value.data = value.data.bfloat16()
    same, alike = differentiate(peft_model, SequenceLosses(peft_model, compute, training=True)(sequences[:4]))
    assert torch.equal(found, same)
    assert all(torch.equal(gradients[name], alike[name]) for name in gradients)


def test_short_sequences_attend_as_long_ones(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 6, 20, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(3, 2, 20, 8, generator=generator, requires_grad=True) for _ in "kv")
    found = []
    for longest in (0, 256):
        monkeypatch.setattr(attention, "SHORT", longest)
        attended = attention.attend_causally(query, key, value, scaling=0.3)
        found.append((attended, *torch.autograd.grad(attended.square().sum(), (query, key, value))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_read_takes_the_ordinary_way(model, recipe, sequences, compute, caplog):
    caplog.set_level(logging.DEBUG, "rankadaptor.training")
    peft_model = attach(model, recipe.replace(dropout=0.1))
    layer = model.model.layers[1].mlp

    def explain(**options: Any) -> str:
        caplog.clear()
        assert SequenceLosses(peft_model, options.pop("compute", compute), training=True).packed is None
        return caplog.text

    assert "has dropout" in explain()
    assert SequenceLosses(peft_model, compute, training=False).packed is not None
    for module in model.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = torch.nn.Identity()
    assert SequenceLosses(peft_model, compute, training=True).packed is not None
    handle = layer.register_forward_hook(lambda *_: None)
    assert "layers.1.mlp has a hook" in explain()
    handle.remove()
    half = model.model.norm.weight.data
    model.model.norm.weight.data = half.half()
    assert "is torch.float16, not torch.float32" in explain()
    model.model.norm.weight.data = half
    model.model.norm.weight.requires_grad_(True)
    assert "model.norm.weight is trained" in explain()


def test_a_short_window_is_honoured(pico_model, recipe, sequences, compute):
    peft_model = attach(pico_model("mistral", 2, sliding_window=12), recipe)
    assert max(map(len, sequences[:4])) > 12
    mine = SequenceLosses(peft_model, compute, training=False)
    theirs = sum_losses(peft_model, make_device_batch(sequences[:4], compute))
    torch.testing.assert_close(mine(sequences[:4]), theirs)


def test_packing_keeps_order_and_labels_apart():
    none = -100
    batch = pack_sequences(
        [
            TokenSequence((5, 6), (none, 6)),
            TokenSequence((1, 2, 3), (1, none, 3)),
            TokenSequence((8, 9), (8, 9)),
        ],
        device="cpu",
    )
    assert batch.input_ids.tolist() == [1, 2, 3, 5, 6, 8, 9]
    assert batch.positions.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert batch.prefix_groups == (PrefixGroup(0, ((1, 3), (2, 2))),)
    assert batch.predicting.tolist() == [1, 3, 5]
    assert batch.targets.tolist() == [3, 6, 9]
    assert batch.owners.tolist() == [1, 0, 2]
    assert batch.count == 3


def begin_alike() -> list[TokenSequence]:
    """Two templates, of which one is the beginning of a longer one; a row apart; equal rows."""
    one, two = tuple(range(3, 23)), tuple(range(40, 60))
    prompts = [(*one, 60), (*one, 61, 62), (*two, 63), (7, 8, 9), (*one, 64), (*two, 65, 66, 67), one, one]
    answers = [(70, 2), (71, 2), (72, 73, 2), (74, 2), (75, 2), (76, 2), (77, 2), (77, 2)]
    return [
        TokenSequence(prompt + answer, (-100,) * len(prompt) + answer)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def test_a_shared_beginning_stands_once():
    given = begin_alike()
    batch = pack_sequences(given, device="cpu")
    assert batch.prefix_groups == (
        PrefixGroup(19, ((1, 5), (2, 4), (2, 3))),
        PrefixGroup(20, ((1, 5), (1, 4))),
        PrefixGroup(0, ((1, 5),)),
    )
    assert len(batch.input_ids) == sum(map(len, given)) - 4 * 19 - 20
    assert len(batch.targets) == sum(sequence.targets for sequence in given)
    for index, sequence in enumerate(given):
        mine = batch.targets[batch.owners == index].tolist()
        assert mine == [label for label in sequence.labels[1:] if label != -100]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_shared_beginning_changes_nothing(pico_model, pico_tokenizer, recipe, compute, family):
    peft_model = attach(build(pico_model, family, pico_tokenizer), recipe)
    given = begin_alike()
    theirs = differentiate(peft_model, sum_losses(peft_model, make_device_batch(given, compute)))
    losses, gradients = differentiate(peft_model, SequenceLosses(peft_model, compute, training=True)(given))
    torch.testing.assert_close(losses, theirs[0], rtol=1e-6, atol=2e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_every_token_learned_shares_nothing():
    rows = [TokenSequence(tuple(range(3, 30)), tuple(range(3, 30)))] * 3
    assert pack_sequences(rows, device="cpu").prefix_groups == (PrefixGroup(0, ((3, 27),)),)
