"""llama.cpp computes with a written file what transformers computes with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.engine.quantisers import round_trip
from rankadaptor.engine.session import EngineSession
from rankadaptor.engine.types import TYPES
from rankadaptor.model.families import describe_linears
from tests.engine.shapes import FAMILIES, build_uneven, drop

LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 64}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
TOKENS = np.random.default_rng(5).integers(3, 128, 48).tolist()


def read_logits(model: Any, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def continue_greedily(model: Any, tokens: list[int], count: int) -> list[int]:
    found = list(tokens)
    for _ in range(count):
        found.append(int(read_logits(model, found)[-1].argmax()))
    return found[len(tokens) :]


def count_loss(logits: np.ndarray, tokens: list[int]) -> float:
    return float(torch.nn.functional.cross_entropy(torch.tensor(logits[:-1]), torch.tensor(tokens[1:])))


@pytest.mark.parametrize("family", FAMILIES)
def test_uneven_models_with_removed_parts_give_the_logits_of_transformers(
    pico_model, pico_tokenizer, tmp_path, family
) -> None:
    """Attention is missing in the first block and in another, MLPs in the last and in one with attention.

    Llama has biases and the scaled positions of Llama 3 besides.
    """
    extras = {"attention_bias": True, "rope_parameters": LLAMA3} if family == "llama" else {}
    widths = {"groups": [4, 3, 2, 1, 3], "channels": [96, 57, 32, 1, 40]}
    model = drop(build_uneven(pico_model, family, **widths, **extras), attention=[0, 3], mlp=[1, 4])
    write_gguf(model, pico_tokenizer, tmp_path / "m.gguf", default_type="F32")
    expected = read_logits(model, TOKENS)
    with EngineSession(tmp_path / "m.gguf", cache="f32") as session:
        np.testing.assert_allclose(session.logits(TOKENS), expected, atol=2e-4)
        assert session.greedy(TOKENS[:8], 24) == continue_greedily(model, TOKENS[:8], 24)
        losses = session.token_losses(TOKENS)
    assert losses.mean() == pytest.approx(count_loss(expected, TOKENS), abs=1e-4)
    assert expected.std() > 0.1  # the model says something
    whole = build_uneven(pico_model, family, **widths, **extras)
    assert np.abs(read_logits(whole, TOKENS) - expected).max() > 0.05  # and what is missing mattered


def test_the_engine_computes_with_the_rounded_weights_of_every_type(
    pico_model, pico_tokenizer, tmp_path
) -> None:
    """One file with all types, one for each linear; its rows are long enough for blocks of 256."""
    wide = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "head_dim": 32}
    model = pico_model("llama", 3, **wide, num_key_value_heads=4)
    linears = [linear.name for linear in describe_linears(model)]
    types = dict(zip(linears, [*TYPES, *TYPES], strict=False)) | {
        "model.embed_tokens": "Q6_K",
        "lm_head": "Q5_0",
    }
    assert set(types.values()) == set(TYPES)
    importance = {name: np.linspace(0.5, 2, 256) for name in (linears[8], linears[12])}
    write_gguf(model, pico_tokenizer, tmp_path / "m.gguf", types=types, importance=importance)
    dense = read_logits(model, TOKENS)
    with torch.no_grad():
        for name, kind in types.items():
            weight = model.get_submodule(name).weight
            rounded = round_trip(weight.numpy(), kind, importance=importance.get(name))
            weight.copy_(torch.from_numpy(rounded))
    expected = read_logits(model, TOKENS)
    with EngineSession(tmp_path / "m.gguf", cache="f32") as session:
        found = session.logits(TOKENS)
    assert count_loss(found, TOKENS) == pytest.approx(count_loss(expected, TOKENS), rel=0.01)
    # Inputs are rounded to 8 bits in the engine; that is little beside what rounding the weights does.
    error = np.abs(found - expected).mean()
    assert error < 0.04 * expected.std()
    assert error < np.abs(dense - expected).mean() / 4
