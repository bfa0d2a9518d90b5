from __future__ import annotations

from typing import Any

import pytest
import torch

from rankadaptor.data.sequences import TokenSequence, make_batch
from rankadaptor.errors import InputError
from rankadaptor.training import head_loss, loss
from rankadaptor.training.loss import score_sequences, sum_losses


def compute_reference(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """Transformers' own loss with the attention mask."""
    return model(**batch).loss.item()


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_it_is_the_loss_of_transformers(pico_model, sequences, family):
    model = pico_model(family, 2)
    batch = make_batch(sequences[:6], pad_id=1)
    total = sum(sequence.targets for sequence in sequences[:6])
    with torch.no_grad():
        mine = sum_losses(model, batch).sum().item() / total
    assert mine == pytest.approx(compute_reference(model, batch), abs=2e-6)


def test_short_cut_and_plain_path_agree_in_loss_and_gradient(pico_model, sequences, monkeypatch):
    model = pico_model("llama", 2)
    for name, value in model.named_parameters():
        value.requires_grad_("layers" in name)
    batch = make_batch(sequences[:5], pad_id=1)
    found = []
    for plain in (loss.PLAIN_HEADS, frozenset()):
        monkeypatch.setattr(loss, "PLAIN_HEADS", plain)
        monkeypatch.setattr(head_loss, "PIECE", 7)  # several pieces, the last one short
        model.zero_grad()
        sums = sum_losses(model, batch)
        (sums * torch.arange(1.0, 6.0)).sum().backward()
        found.append((sums.detach(), model.model.layers[0].mlp.up_proj.weight.grad.clone()))
    (short, short_grad), (full, full_grad) = found
    torch.testing.assert_close(short, full, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(short_grad, full_grad, rtol=1e-3, atol=1e-5)


def test_scores_do_not_depend_on_batching(model, sequences, compute):
    one, counts = score_sequences(model, sequences, compute=compute, batch_size=1)
    many, _ = score_sequences(model, sequences, compute=compute, batch_size=7)
    assert one == pytest.approx(many, rel=1e-5)
    assert counts == [sequence.targets for sequence in sequences]


def test_a_sequence_without_labels_is_named(model, sequences, compute):
    empty = TokenSequence(input_ids=(3, 4), labels=(-100, -100))
    with pytest.raises(InputError, match="sequence 2 has no token"):
        score_sequences(model, [*sequences[:2], empty], compute=compute, batch_size=4)
    with pytest.raises(InputError, match="no held-out sequences"):
        score_sequences(model, [], compute=compute, batch_size=4)


def test_mode_is_kept(model, sequences, compute):
    model.train()
    score_sequences(model, sequences[:2], compute=compute, batch_size=2)
    assert model.training
