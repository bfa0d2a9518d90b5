"""Slot features against plain computation: finite differences of the likelihood, and the true divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.features.slot_features import (
    CHANGE,
    FISHER,
    NAMES,
    REMOVED,
    ROUNDED,
    STREAM,
    TAYLOR,
    TOKENWISE,
    SlotFeatures,
)
from rankadaptor.measure import slot_sensitivity
from rankadaptor.measure.slot_sensitivity import RANK, compute_slot_features
from rankadaptor.model import digest_model
from rankadaptor.space import Allocation

SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
TOKENS = torch.randint(3, 100, (48, 12), generator=torch.Generator().manual_seed(3))
TYPES = ("F32", "A5G32", "A3G32")


@pytest.fixture(params=(("llama", True), ("qwen3", False)), ids=("llama", "qwen3"))
def live(request, pico_model) -> LiveModel:
    family, tied = request.param
    return LiveModel(pico_model(family, 2, tie_word_embeddings=tied, **SIZES))


def measure_divergence(live, allocation) -> float:
    """KL of the dense model's distributions to those of an allocation, nats per predicted token."""
    with torch.no_grad():
        dense = live.model(TOKENS).logits[:, :-1].log_softmax(-1)
        with live.applied(allocation):
            other = live.model(TOKENS).logits[:, :-1].log_softmax(-1)
    return float((dense.exp() * (dense - other)).sum(-1).mean())


def change(space, name: str, label) -> Allocation:
    choices = list(space.origin)
    index = next(place for place, slot in enumerate(space.slots) if slot.name == name)
    choices[index] = space.slots[index].find_choice(label)
    return Allocation(tuple(choices), space)


def read(features: SlotFeatures, space, allocation, name: str) -> float:
    places = (range(space.n_slots), list(allocation.choices))
    return float(features.get(name)[places].sum())


def test_sensitivities_estimate_the_divergence(live) -> None:
    space = build_space(live.model, precision=TYPES)
    digest = digest_model(live.model)
    features = compute_slot_features(live, space, TOKENS)
    assert digest_model(live.model) == digest
    ends = [slot.name for slot in space.slots if slot.component == "precision"]
    for name in (*ends, "block0.mlp", "block1.mlp", "block0.attention"):
        slot = next(slot for slot in space.slots if slot.name == name)
        allocation = change(space, name, "A5G32" if name in ends else (slot.options[-1][0], "A5G32"))
        true = measure_divergence(live, allocation)
        for feature in (FISHER, TOKENWISE):
            assert read(features, space, allocation, feature) == pytest.approx(true, rel=0.5), (name, feature)


def test_responses_are_derivatives_of_the_likelihood(live) -> None:
    """The first-order feature of an option is a finite difference along what the option changes."""
    space = build_space(live.model, precision=TYPES)
    features = compute_slot_features(live, space, TOKENS)
    allocation = change(space, "block1.mlp", (96, "F32"))
    module, step = live.model.model.layers[1].mlp, 1e-2
    outputs = []
    with torch.no_grad():
        handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
        live.model(TOKENS)
        handle.remove()
        inputs = []
        handle = module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        live.model(TOKENS)
        handle.remove()
        with live.applied(allocation):
            changed = module(inputs[0]) - outputs[0]

        def sum_likelihood(share: float) -> float:
            handle = module.register_forward_hook(lambda _, __, output: output + share * changed)
            logits = live.model(TOKENS).logits[:, :-1].double().log_softmax(-1)
            handle.remove()
            return float(logits.gather(-1, TOKENS[:, 1:, None]).sum())

        slope = (sum_likelihood(step) - sum_likelihood(-step)) / (2 * step)
    tokens = TOKENS.numel() - len(TOKENS)
    assert read(features, space, allocation, TAYLOR) == pytest.approx(abs(slope) / tokens, rel=0.02)
    share = float(changed.square().sum() / outputs[0].square().sum())
    assert read(features, space, allocation, CHANGE) == pytest.approx(share, rel=1e-4)


def test_simple_features(live) -> None:
    space = build_space(live.model, precision=TYPES)
    features = compute_slot_features(live, space, TOKENS)
    dense, dropped = space.reference(), change(space, "block0.mlp", (0, "none"))
    assert all(read(features, space, dense, name) == 0.0 for name in NAMES)
    assert read(features, space, dropped, CHANGE) == pytest.approx(1.0)
    assert read(features, space, dropped, REMOVED) == pytest.approx(1.0)
    assert read(features, space, dropped, STREAM) > 0.0
    coarse, fine = (change(space, "block0.mlp", (128, kind)) for kind in ("A3G32", "A5G32"))
    for name in (ROUNDED, CHANGE, STREAM, FISHER, TOKENWISE):
        assert read(features, space, coarse, name) > read(features, space, fine, name) > 0.0
    assert read(features, space, coarse, REMOVED) == 0.0


def test_products_of_responses_are_kept(live) -> None:
    space = build_space(live.model, precision=TYPES)
    features = compute_slot_features(live, space, TOKENS)
    kept = (features.responses.astype(np.float64) ** 2).sum(axis=-1)
    assert features.responses.shape[-1] == RANK
    assert (kept <= features.get(TOKENWISE) * 1.001 + 1e-12).all()
    assert kept.sum() > 0.5 * features.get(TOKENWISE).sum()


def test_features_are_stored_and_belong_to_their_space(live, tmp_path) -> None:
    space = build_space(live.model, precision=TYPES)
    features = compute_slot_features(live, space, TOKENS)
    assert features.tokens > TOKENS.numel() * (1 + 2 * slot_sensitivity.PASSES)
    features.save(tmp_path / "features.safetensors")
    read_back = SlotFeatures.load(tmp_path / "features.safetensors")
    read_back.check_space(space)
    assert read_back.tokens == features.tokens
    np.testing.assert_array_equal(read_back.values, features.values)
    np.testing.assert_allclose(read_back.responses, features.responses, rtol=1e-3, atol=1e-6)
    other = build_space(live.model, precision=("F32", "Q8_0"))
    with pytest.raises(Exception, match="belong to other options"):
        read_back.check_space(other)
