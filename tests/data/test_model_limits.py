"""What the model cannot read is refused wherever texts meet it."""

from __future__ import annotations

import copy

import pytest

import rankadaptor as ra
from rankadaptor.data.model_limits import check_length, find_positions
from rankadaptor.errors import InputError
from rankadaptor.evaluation.harness import ModelInMemory

TEXTS = ["The fox runs.<|end|>"] * 12
MISSING = r"The token '<\|end\|>' has the id 128, .* embedding has 128 rows .*resize_token_embeddings\(129\)"


def test_a_token_without_a_row_is_named_before_anything_is_computed(pico_model, pico_tokenizer):
    model, tokenizer = pico_model(blocks=2), copy.deepcopy(pico_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    space = ra.RankSpace.from_model(model, like_uniform=2, slots="linear")
    recipe = ra.Recipe(batch_size=2, micro_batch_size=2, sequence_length=16)
    rows = [{"prompt": "Q", "response": text} for text in TEXTS]
    interface = ModelInMemory(model, tokenizer, batch_size=1)
    plain = [{"prompt": "Q", "response": " yes"}] * 2
    for build in (
        lambda: ra.recover(model, tokenizer, space.reference(), data=rows, recipe=recipe),
        lambda: ra.recover(model, tokenizer, space.reference(), data=plain, held_out=rows, recipe=recipe),
        lambda: ra.ShortFineTune(model, tokenizer, data=rows, held_out_rows=2, recipe=recipe),
        lambda: ra.prune(model, tokenizer, ratio=0.3, calibration=TEXTS, examples=2, length=8),
        lambda: interface._loglikelihood_tokens([(("a", "b"), [5], [128])]),
    ):
        with pytest.raises(InputError, match=MISSING):
            build()
    assert not hasattr(model, "peft_config")
    model.resize_token_embeddings(129)
    assert ra.prune(model, tokenizer, ratio=0.3, calibration=TEXTS, examples=2, length=8)


def test_a_length_beyond_the_positions_is_refused(pico_model, pico_tokenizer):
    model = pico_model(blocks=2, max_position_embeddings=32)
    rows = [{"prompt": "Q", "response": " yes"}] * 4
    recipe = ra.Recipe(sequence_length=64)
    space = ra.RankSpace.from_model(model, like_uniform=2, slots="linear")
    with pytest.raises(InputError, match="max_length=64: more than the 32 positions"):
        ra.recover(model, pico_tokenizer, space.reference(), data=rows, recipe=recipe)
    with pytest.raises(InputError, match="length=64: more than the 32 positions"):
        ra.prune(model, pico_tokenizer, ratio=0.3, calibration=TEXTS, length=64)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({}, None),
        ({"max_position_embeddings": 2048}, 2048),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 2.0}}, 4096),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "rope_type": "llama3", "factor": 32.0, "original_max_position_embeddings": 8192,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
    ],
)  # fmt: skip
def test_scaled_positions(config, positions):
    assert find_positions(config) == positions
    check_length(2048, positions)
