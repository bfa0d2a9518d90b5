"""Scores against a dense reference written from the published formulas, element by element."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.pruning import gradients
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.importance import IMPORTANCES, score_groups

TAYLOR = ("param_first", "param_second", "param_mix", "vectorwise")


@pytest.fixture
def sequences() -> torch.Tensor:
    return torch.randint(3, 100, (5, 12), generator=torch.Generator().manual_seed(1))


def compute_salience(model, sequences: torch.Tensor, importance: str) -> dict[str, torch.Tensor]:
    """LLM-Pruner's element salience: all gradients kept, one batch for g, one backward per sample for H."""
    model.zero_grad()
    curvature = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row in sequences:
        model(input_ids=row[None], labels=row[None]).loss.backward()
        for name, p in model.named_parameters():
            curvature[name] += p.grad * p.grad / len(sequences)
        model.zero_grad()
    model(input_ids=sequences, labels=sequences).loss.backward()
    salience = {}
    for name, p in model.named_parameters():
        first, second = p * p.grad, p * curvature[name] * p
        salience[name.removesuffix(".weight")] = {
            "param_first": first,
            "vectorwise": first,
            "param_second": second,
            "param_mix": first - 0.5 * second,
        }[importance].detach()
    model.zero_grad()
    return salience


def reduce_rows(salience: torch.Tensor, importance: str) -> torch.Tensor:
    return salience.sum(1).abs() if importance == "vectorwise" else salience.abs().sum(1)


def score_reference(model, sequences, importance: str, head_dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    salience = compute_salience(model, sequences, importance)
    block = "model.layers.0."

    def rows(name: str) -> torch.Tensor:
        return reduce_rows(salience[block + name], importance)

    def columns(name: str) -> torch.Tensor:
        return reduce_rows(salience[block + name].T, importance)

    key = rows("self_attn.k_proj")
    heads = []
    for group in range(len(key) // head_dim):
        shared = slice(group * head_dim, (group + 1) * head_dim)
        query_size = len(rows("self_attn.q_proj")) // (len(key) // head_dim)
        own = slice(group * query_size, (group + 1) * query_size)
        parts = (
            rows("self_attn.q_proj")[own],
            key[shared],
            rows("self_attn.v_proj")[shared],
            columns("self_attn.o_proj")[own],
        )
        heads.append(sum(float(part.sum()) for part in parts))
    channels = rows("mlp.gate_proj") + rows("mlp.up_proj") + columns("mlp.down_proj")
    return np.array(heads), channels.numpy()


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("importance", TAYLOR)
def test_taylor_scores_equal_the_dense_reference(pico_model, sequences, importance, kv_heads) -> None:
    model = pico_model("llama", 2, num_key_value_heads=kv_heads)
    heads, channels = score_reference(model, sequences, importance)
    scores = score_groups(model, find_groups(model), importance=importance, sequences=sequences)
    np.testing.assert_allclose(scores[0], heads, rtol=2e-5)
    np.testing.assert_allclose(scores[1], channels, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("importance", TAYLOR)
def test_calibration_in_pieces_gives_the_same_scores(pico_model, sequences, importance, monkeypatch) -> None:
    model = pico_model("qwen2", 2)
    groups = find_groups(model)
    whole = score_groups(model, groups, importance=importance, sequences=sequences)
    monkeypatch.setattr(gradients, "CHUNK_TOKENS", 24)
    pieces = score_groups(model, groups, importance=importance, sequences=sequences)
    for one, two in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("importance", TAYLOR)
def test_taylor_leaves_no_trace(pico_model, sequences, importance) -> None:
    model = pico_model("llama", 2).train()
    model.model.norm.weight.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    score_groups(model, find_groups(model), importance=importance, sequences=sequences)
    assert model.training
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    for name, p in model.named_parameters():
        assert p.grad is None
        assert not p._post_accumulate_grad_hooks
        assert torch.equal(p, before[name])


def test_magnitude_scores_are_sums_over_the_group(pico_model) -> None:
    model = pico_model("llama", 1)
    groups = find_groups(model, targets=["channels"])
    mlp = model.model.layers[0].mlp
    parts = (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T)
    for importance, power in (("l1", 1), ("l2", 2)):
        (scores,) = score_groups(model, groups, importance=importance)
        expected = sum(part.detach().abs().pow(power).sum(1) for part in parts)
        np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-5)


def test_activation_scores_equal_a_dense_reference(pico_model, sequences) -> None:
    model = pico_model("llama", 1)
    inputs = {}
    names = ("gate_proj", "up_proj", "down_proj")
    handles = [
        getattr(model.model.layers[0].mlp, name).register_forward_pre_hook(
            lambda _m, args, name=name: inputs.update({name: args[0].flatten(0, 1).double()})
        )
        for name in names
    ]
    with torch.no_grad():
        model(input_ids=sequences)
    for handle in handles:
        handle.remove()
    weights = {n: getattr(model.model.layers[0].mlp, n).weight.detach().double() for n in names}
    scaled = {name: weights[name].abs() * inputs[name].norm(dim=0) for name in names}
    wanda = scaled["gate_proj"].sum(1) + scaled["up_proj"].sum(1) + scaled["down_proj"].sum(0)
    flap = inputs["down_proj"].var(0, unbiased=False) * weights["down_proj"].square().sum(0)
    groups = find_groups(model, targets=["channels"])
    for importance, expected in (("wanda", wanda), ("flap", flap)):
        (scores,) = score_groups(model, groups, importance=importance, sequences=sequences)
        np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-5)


def test_aggregations_differ_in_how_members_combine(pico_model) -> None:
    model = pico_model("llama", 1)
    groups = find_groups(model, targets=["channels"])
    mlp = model.model.layers[0].mlp
    parts = np.stack(
        [
            weight.detach().abs().sum(1).double().numpy()
            for weight in (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T)
        ]
    )
    expected = {
        "sum": parts.sum(0),
        "mean": parts.mean(0),
        "max": parts.max(0),
        "prod": parts.prod(0),
        "first": parts[0],
    }
    for aggregation, values in expected.items():
        (scores,) = score_groups(model, groups, importance="l1", aggregation=aggregation)
        np.testing.assert_allclose(scores, values, rtol=1e-5)


def test_random_scores_follow_the_seed(pico_model) -> None:
    model = pico_model("llama", 1)
    groups = find_groups(model)
    first, again, other = (score_groups(model, groups, importance="random", seed=s)[1] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_a_dead_channel_scores_lowest_wherever_it_is_looked_at(pico_model, sequences, importance) -> None:
    if importance == "random":
        pytest.skip("random looks at nothing")
    model = pico_model("qwen3", 1)
    mlp = model.model.layers[0].mlp
    with torch.no_grad():
        mlp.gate_proj.weight[7] = mlp.up_proj.weight[7] = 0
        mlp.down_proj.weight[:, 7] = 0
    groups = find_groups(model, targets=["channels"])
    (scores,) = score_groups(model, groups, importance=importance, sequences=sequences)
    assert scores.argmin() == 7
    assert scores[7] == 0


def test_missing_text_and_unknown_names_are_refused(pico_model) -> None:
    model = pico_model("llama", 1)
    groups = find_groups(model)
    with pytest.raises(InputError, match=r"calibration is None.*kit:c4"):
        score_groups(model, groups, importance="param_first")
    with pytest.raises(InputError, match=r"importance='magic'.*param_first"):
        score_groups(model, groups, importance="magic")
    with pytest.raises(InputError, match="aggregation='median'"):
        score_groups(model, groups, importance="l1", aggregation="median")


def test_a_broken_model_is_named_not_pruned(pico_model, sequences) -> None:
    model = pico_model("llama", 1)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="loss on the calibration text is nan"):
        score_groups(model, find_groups(model), importance="param_first", sequences=sequences)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
