from __future__ import annotations

import math

import pytest

from rankadaptor.data.rows import Row
from rankadaptor.data.sequences import tokenise_rows
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss
from rankadaptor.runtime import Compute

COMPUTE = Compute(device="cpu", dtype="float32", threads=1, reason="tests")


@pytest.fixture
def sequences(pico_tokenizer):
    rows = [
        Row(prompt="Question: ", response=f"The {word} runs." * times)
        for times, word in enumerate(("fox", "dog", "owl"), 1)
    ]
    return tokenise_rows(rows, pico_tokenizer, max_length=128)


def test_mean_weighs_tokens(pico_model, sequences):
    model = pico_model()
    found = measure_loss(model, sequences, compute=COMPUTE)
    counts = [sum(label != -100 for label in sequence.labels[1:]) for sequence in sequences]
    assert found.tokens == sum(counts)
    weighed = sum(loss * count for loss, count in zip(found.per_sequence, counts, strict=True)) / sum(counts)
    assert found.mean == pytest.approx(weighed, rel=1e-9)
    assert found.perplexity == pytest.approx(math.exp(found.mean))


def test_order_is_kept_and_repeats_exactly(pico_model, sequences):
    model = pico_model()
    forward = measure_loss(model, sequences, compute=COMPUTE, batch_size=1)
    backward = measure_loss(model, sequences[::-1], compute=COMPUTE, batch_size=1)
    assert forward.per_sequence == backward.per_sequence[::-1]
    assert measure_loss(model, sequences, compute=COMPUTE) == measure_loss(model, sequences, compute=COMPUTE)


def test_training_flags_and_mode_are_kept(pico_model, sequences):
    model = pico_model()
    model.train()
    measure_loss(model, sequences, compute=COMPUTE)
    assert model.training
    assert all(value.requires_grad for value in model.parameters())


def test_bfloat16_is_near(pico_model, sequences):
    model = pico_model()
    coarse = measure_loss(model, sequences, compute=Compute("cpu", "bfloat16", 1, "tests"))
    assert coarse.mean == pytest.approx(measure_loss(model, sequences, compute=COMPUTE).mean, abs=0.05)


def test_overflow_and_emptiness(pico_model):
    assert HeldOutLoss(mean=1e4, per_sequence=(1e4,), tokens=1).perplexity == math.inf
    with pytest.raises(InputError, match="no held-out sequences"):
        measure_loss(pico_model(), [], compute=COMPUTE)
