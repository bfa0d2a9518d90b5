"""Importance weights: the inputs' mean squares as computed by hand, and what they do to rounding errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rankadaptor.engine.quantisers import round_trip
from rankadaptor.pipeline.compression.column_importance import measure_column_importance


def test_mean_squares_are_those_of_the_inputs_and_serve_important_columns(pico_model: Callable[..., Any]):
    model = pico_model("llama", blocks=2, hidden_size=64, intermediate_size=128, head_dim=16)
    tokens = torch.randint(0, model.config.vocab_size, (11, 8), generator=torch.Generator().manual_seed(0))
    found = measure_column_importance(model, tokens)
    assert len(found) == 14  # seven linears a block, neither embedding nor head
    inputs = model.model.layers[0].input_layernorm(model.get_input_embeddings()(tokens)).detach().double()
    for kind in ("q_proj", "k_proj", "v_proj"):
        expected = inputs.square().mean((0, 1)).numpy()
        np.testing.assert_allclose(found[f"model.layers.0.self_attn.{kind}"], expected, rtol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())

    name = "model.layers.1.mlp.down_proj"
    weight = model.get_submodule(name).weight.detach().float().numpy()
    errors = [
        float((((round_trip(weight, "Q4_0", importance=each) - weight) ** 2) * found[name]).sum())
        for each in (None, found[name])
    ]
    assert errors[1] < errors[0]
