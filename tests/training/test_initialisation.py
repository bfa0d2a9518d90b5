from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter import read_ranks
from rankadaptor.components.adapter.lora.attach import attach_adapter, list_adapter_parameters
from rankadaptor.config import build_run
from rankadaptor.errors import ConfigError, InputError
from rankadaptor.recipe import Recipe
from rankadaptor.recovery import recover
from rankadaptor.training import fine_tune
from rankadaptor.training.gradients import group_weights, reduce_gradients
from rankadaptor.training.initialisation import ROW_NORM, aim_at_gradients, find_directions
from rankadaptor.training.loss import make_device_batch


def read_rows(peft_model: Any) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().clone()
        for name, value in list_adapter_parameters(peft_model).items()
        if "lora_A" in name
    }


def test_rows_lie_along_the_gradient_and_change_nothing_yet(pico_model, mixed, recipe, sequences, compute):
    model = pico_model("llama", 2)
    tokens = make_device_batch(sequences[:2], compute)["input_ids"]
    with torch.no_grad():
        before = model(input_ids=tokens).logits
    peft_model = attach_adapter(model, mixed, recipe, seed=0)
    flags = {name: value.requires_grad for name, value in peft_model.named_parameters()}
    assert aim_at_gradients(peft_model, sequences, seed=0, compute=compute) > 0
    assert flags == {name: value.requires_grad for name, value in peft_model.named_parameters()}
    assert all(value.grad is None for value in peft_model.parameters())
    with torch.no_grad():
        assert torch.equal(peft_model(input_ids=tokens).logits, before)
    gradients: dict[str, torch.Tensor] = {}
    names = [name for name, rank in read_ranks(mixed).items() if rank > 0]
    modules = dict(peft_model.get_base_model().named_modules())
    weights = {name: modules[name].get_base_layer().weight for name in names}
    reduce_gradients(peft_model, weights, sequences, reduce=gradients.__setitem__, compute=compute)
    for name in names:
        rows = modules[name].lora_A["default"].weight.detach()
        held = (gradients[name] @ (rows / ROW_NORM).T).norm()
        best = torch.linalg.svdvals(gradients[name])[: len(rows)].norm()
        assert held == pytest.approx(float(best), rel=1e-3), name
        assert torch.allclose(rows @ rows.T, ROW_NORM**2 * torch.eye(len(rows)), atol=1e-5)


def test_a_smaller_rank_has_the_first_rows_of_a_larger_one(pico_model, mixed, recipe, sequences, compute):
    small, large = (
        read_rows(_aim(pico_model("llama", 2), allocation, recipe, sequences, compute))
        for allocation in (mixed.space.reference(), mixed)
    )
    shared = small.keys() & large.keys()
    assert shared
    for name in shared:
        count = min(len(small[name]), len(large[name]))
        assert torch.allclose(small[name][:count], large[name][:count], atol=1e-5), name


def test_a_resumed_fine_tune_keeps_its_start(pico_model, mixed, recipe, sequences, compute, tmp_path):
    chosen = recipe.replace(initialisation="gradient")

    def train(steps_seen: int | None, **options: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        peft_model = attach_adapter(pico_model("llama", 2), mixed, chosen, seed=0)

        def stop(report: Any) -> None:
            if report.step == steps_seen:
                raise KeyboardInterrupt

        result = fine_tune(
            peft_model, sequences, recipe=chosen, steps=6, seed=0, compute=compute, on_step=stop, **options
        )
        return result, {name: v.detach().clone() for name, v in list_adapter_parameters(peft_model).items()}

    whole, expected = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(3, checkpoint=tmp_path, checkpoint_every=1)
    resumed, found = train(None, checkpoint=tmp_path, checkpoint_every=1)
    assert resumed.losses == whole.losses
    assert resumed.tokens == whole.tokens
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    plain = attach_adapter(pico_model("llama", 2), mixed, recipe, seed=0)
    other = fine_tune(plain, sequences, recipe=recipe, steps=6, seed=0, compute=compute)
    assert other.losses[0] == whole.losses[0]
    assert other.losses[1:] != whole.losses[1:]
    assert other.tokens < whole.tokens  # the gradients' text is counted


def test_a_warm_start_is_not_overwritten(pico_model, pico_tokenizer, mixed, recipe, compute, rows):
    donor = attach_adapter(pico_model("llama", 2), mixed, recipe, seed=7)
    start = {
        name.replace(".default.", "."): value.detach().clone() + 0.01
        for name, value in list_adapter_parameters(donor).items()
    }
    given: dict[str, Any] = {"data": rows, "steps": 1, "compute": compute, "start": start}
    losses = [
        recover(
            pico_model("llama", 2), pico_tokenizer, mixed, recipe=recipe.replace(initialisation=name), **given
        )
        for name in ("random", "gradient")
    ]
    left, right = (list_adapter_parameters(one) for one in losses)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_wide_gradients_are_decomposed_by_projection():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(700, 6, generator=generator), torch.randn(6, 900, generator=generator)
    matrix = left @ torch.diag(torch.tensor([32.0, 16.0, 8.0, 4.0, 2.0, 1.0])) @ right
    matrix += 1e-3 * torch.randn(700, 900, generator=generator)
    found = find_directions(matrix, count=4)
    exact = torch.linalg.svd(matrix, full_matrices=False).Vh[:4]
    assert found is not None
    assert torch.allclose((found * exact).sum(1).abs(), torch.ones(4), atol=1e-3)
    assert torch.allclose(find_directions(matrix, count=2), found[:2])
    assert find_directions(torch.zeros(3, 4), count=1) is None


def test_gradients_in_groups_are_the_same_gradients(pico_model, sequences, compute):
    model = pico_model("llama", 2)
    weights = {
        name: weight for name, weight in model.named_parameters() if "proj" in name and weight.ndim == 2
    }
    at_once, grouped = {}, {}
    reduce_gradients(model, weights, sequences, reduce=at_once.__setitem__, compute=compute, at_once=2)
    limit = 3 * 4 * max(weight.numel() for weight in weights.values())
    groups = [list(group) for group in group_weights(weights, group_bytes=limit)]
    assert 3 <= len(groups) < len(weights)
    assert len(list(group_weights(weights, group_bytes=1))) == len(weights)
    reduce_gradients(
        model, weights, sequences, reduce=grouped.__setitem__, compute=compute, at_once=2,
        group_bytes=limit,
    )  # fmt: skip
    assert all(torch.equal(grouped[name], at_once[name]) for name in weights)
    places = {name: place for place, group in enumerate(groups) for name in group}
    turns = [places[name] for name in grouped]  # a group is done before the next one begins
    assert turns == sorted(turns)
    assert [places[name] for name in at_once] != sorted(places[name] for name in at_once)


def test_what_cannot_be_is_said(pico_model, sequences, compute):
    with pytest.raises(InputError, match="allowed are random, gradient"):
        Recipe(initialisation="pissa")
    held = {"a": torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)}
    with pytest.raises(InputError, match="unquantised"):
        reduce_gradients(pico_model("llama", 2), held, sequences, reduce=print, compute=compute)
    with pytest.raises(ConfigError, match="initialise at random"):
        build_run({"compute": {"quantise": "int8"}, "recipe": {"initialisation": "gradient"}})


def test_the_default_leaves_no_trace_in_what_is_written():
    assert "initialisation" not in Recipe().to_json()
    assert Recipe(**Recipe(initialisation="gradient").to_json()).initialisation == "gradient"
    assert math.isclose(ROW_NORM, 0.2887, abs_tol=1e-4)


def _aim(model: Any, allocation: Any, recipe: Recipe, sequences: Any, compute: Any) -> Any:
    peft_model = attach_adapter(model, allocation, recipe, seed=0)
    aim_at_gradients(peft_model, sequences, seed=0, compute=compute)
    return peft_model
