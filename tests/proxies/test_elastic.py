from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from rankadaptor.components.adapter import ADAPTER_PARAMETERS, RankSpace
from rankadaptor.components.adapter.lora import attach_adapter, detach_adapter
from rankadaptor.components.adapter.lora.nested import attach_nested, cut_slice, find_widest
from rankadaptor.components.adapter.scales import add_scales
from rankadaptor.corpus import RecordFile
from rankadaptor.errors import CheckpointError, InputError, TrainingError
from rankadaptor.proxies import ElasticAdapter
from rankadaptor.proxies.elastic import draw_plan
from rankadaptor.recovery import recover
from rankadaptor.training import fine_tune, loop
from rankadaptor.training.start import load_start

TOKENS = torch.tensor([[5, 9, 33, 80, 12, 7], [4, 4, 90, 21, 3, 60]])


def read_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


@pytest.fixture
def elastic(short, space):
    return ElasticAdapter.train(short, space, steps=6)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_nested_slice_is_the_adapter_of_its_allocation(model, space, mixed, recipe, exponent):
    recipe = recipe.replace(scaling_exponent=exponent)
    generator = torch.Generator().manual_seed(1)
    with attach_nested(model, space, recipe, seed=0) as nested:
        for value in nested.peft_model.parameters():
            if value.requires_grad:
                value.data += 0.05 * torch.randn(value.shape, generator=generator)
        nested.choose(mixed.choices)
        logits, weights = read_logits(nested.peft_model), nested.read_weights()
    bare = read_logits(model)
    alone = attach_adapter(model, mixed, recipe, seed=3)
    load_start(alone, cut_slice(weights, mixed, trained=recipe, wanted=recipe))
    assert 0 in mixed.values
    assert (logits - bare).abs().max() > 0.1
    assert torch.allclose(read_logits(alone), logits, atol=1e-6)


def test_slices_of_a_space_with_scales_too(model, space, recipe):
    wide = add_scales(space)
    values = list(space.reference().values) + [200] * (wide.n_slots - space.n_slots)
    with attach_nested(model, wide, recipe, seed=0) as nested:
        for value in nested.peft_model.parameters():
            if value.requires_grad:
                value.data += 0.05
        nested.choose(wide.find_choices(values))
        logits, weights = read_logits(nested.peft_model), nested.read_weights()
    allocation = wide.allocation(values)
    alone = attach_adapter(model, allocation, recipe, seed=3)
    load_start(alone, cut_slice(weights, allocation, trained=recipe, wanted=recipe))
    assert torch.allclose(read_logits(alone), logits, atol=1e-6)


@pytest.mark.parametrize("initialisation", ["random", "gradient"])
def test_a_super_adapter_that_never_changes_ranks_trains_as_an_adapter_alone(
    model, space, mixed, recipe, sequences, compute, initialisation
):
    recipe = recipe.replace(initialisation=initialisation)
    common = {"recipe": recipe, "steps": 3, "seed": 0, "compute": compute}
    alone = attach_adapter(model, mixed, recipe, seed=0)
    expected = fine_tune(alone, sequences, **common)
    logits = read_logits(alone)
    detach_adapter(alone)
    with attach_nested(model, space, recipe, seed=0) as nested:
        nested.choose(mixed.choices)
        found = fine_tune(nested.peft_model, sequences, **common)
        assert torch.allclose(read_logits(nested.peft_model), logits, atol=1e-5)
    assert found.losses == pytest.approx(expected.losses, abs=1e-6)


def test_training_learns_and_leaves_the_model_bare(short, space, mixed):
    before = short.measure_pruned().mean
    logits = read_logits(short.model)
    elastic = ElasticAdapter.train(short, space, steps=25)
    assert torch.equal(read_logits(short.model), logits)
    record = elastic.measure(mixed)
    assert record.loss < before - 0.5
    assert record.loss_reference == elastic.measure(space.reference()).loss < before - 0.5
    assert elastic.measure(space.reference()).gain == 0
    assert record.tokens == 0 < elastic.tokens
    assert (record.source, record.steps) == ("slice", 25)
    assert record.setting.startswith(f"{short.name_setting(space)}.elastic-")
    assert record.parameters == mixed.cost()
    assert torch.equal(read_logits(short.model), logits)


def attach_slice(elastic, model, allocation):
    attached = attach_adapter(model, allocation, elastic.recipe, seed=0)
    load_start(attached, elastic.slice(allocation))
    return attached.eval()


def test_the_saved_slice_loads_with_plain_peft(elastic, mixed, pico_model, tmp_path):
    attached = attach_slice(elastic, pico_model("llama", 2), mixed)
    logits = read_logits(attached)
    attached.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(pico_model("llama", 2), str(tmp_path))
    assert torch.equal(read_logits(loaded), logits)
    assert not torch.equal(read_logits(pico_model("llama", 2)), logits)


def test_a_super_adapter_is_not_put_on_other_weights(elastic, short, pico_model, tmp_path):
    elastic.save(tmp_path)
    other = copy.copy(short)
    other.model = pico_model("llama", 2, seed=1)
    with pytest.raises(CheckpointError, match="was trained on the weights"):
        ElasticAdapter.load(tmp_path, other)


def test_a_slice_for_another_recipe_computes_the_same(elastic, short, mixed, recipe):
    attached = attach_slice(elastic, short.model, mixed)
    logits = read_logits(attached)
    detach_adapter(attached)
    flat = recipe.replace(scaling_exponent=0.0, scale_at_reference=1.0)
    other = attach_adapter(short.model, mixed, flat, seed=0)
    load_start(other, elastic.slice(mixed, recipe=flat))
    assert torch.allclose(read_logits(other), logits, atol=1e-5)


def test_an_interrupted_training_continues_to_the_same_weights(short, space, tmp_path, monkeypatch):
    whole = ElasticAdapter.train(short, space, steps=6, sandwich=True)
    real = loop.save_state

    def save_and_die(*arguments, **named):
        real(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr("rankadaptor.proxies.elastic.CHECKPOINT_EVERY", 4)
    monkeypatch.setattr(loop, "save_state", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        ElasticAdapter.train(short, space, steps=6, sandwich=True, checkpoint=tmp_path)
    monkeypatch.setattr(loop, "save_state", real)
    with pytest.raises(CheckpointError, match="other allocations"):
        ElasticAdapter.train(short, space, steps=6, checkpoint=tmp_path)
    resumed = ElasticAdapter.train(short, space, steps=6, sandwich=True, checkpoint=tmp_path)
    assert resumed.tokens == whole.tokens
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())


def test_it_is_saved_and_read_back(elastic, short, mixed, tmp_path):
    records = RecordFile(tmp_path / "elastic.jsonl")
    elastic.save(tmp_path / "kept")
    again = ElasticAdapter.load(tmp_path / "kept", short, records=records)
    assert again.measure(mixed).loss == elastic.measure(mixed).loss
    assert (again.steps, again.seed, again.tokens) == (elastic.steps, elastic.seed, elastic.tokens)
    assert len(records) == 2  # uniform too
    assert again.measure(mixed) is records.records[-1]
    again.records = RecordFile(tmp_path / "earlier.jsonl")  # earlier versions wrote another source
    again.records.append(dataclasses.replace(records.records[-1], source="short", fidelity=0.5))
    assert again.measure(mixed) is again.records.records[-1]
    (tmp_path / "kept" / "elastic.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="not what was written"):
        ElasticAdapter.load(tmp_path / "kept", short)


def test_a_slice_starts_the_final_fine_tune(elastic, model, pico_tokenizer, mixed, recipe, rows, compute):
    common = {"data": rows[:16], "recipe": recipe, "steps": 2, "compute": compute}
    cold = recover(model, pico_tokenizer, mixed, **common)
    logits = read_logits(cold)
    detach_adapter(cold)
    warm = recover(model, pico_tokenizer, mixed, **common, start=elastic.slice(mixed))
    assert not torch.allclose(read_logits(warm), logits, atol=1e-3)
    detach_adapter(warm)
    with pytest.raises(InputError, match="does not fit the allocation"):
        recover(model, pico_tokenizer, mixed, **common, start=elastic.slice(mixed.space.reference()))
    assert not any("lora" in name for name, _ in model.named_modules())


def test_every_step_trains_the_ranks_of_its_own_allocation(short, space, monkeypatch):
    narrow = np.asarray([[1] * space.n_slots] * 3 + [[2] * space.n_slots])
    monkeypatch.setattr("rankadaptor.proxies.elastic.draw_plan", lambda *_, **__: narrow)
    weights = ElasticAdapter.train(short, space, steps=4).weights
    for name, value in weights.items():
        if name.endswith(".B"):
            assert (value[:, :2] != 0).any(0).all()
            assert not value[:, 2:].any()


def test_the_plan_is_random_and_in_the_budget_or_takes_turns(space):
    plan = draw_plan(space, 30, seed=0)
    assert (space.sum_costs(plan, ADAPTER_PARAMETERS) <= space.bounds[0]).all()
    assert len({tuple(row) for row in plan.tolist()}) > 20
    turns = draw_plan(space, 30, seed=0, sandwich=True)
    assert tuple(turns[3]) == find_widest(space).choices
    assert tuple(turns[4]) == space.origin
    assert (turns[2::3] == plan[2::3]).all()


def test_what_cannot_be_done_is_said(elastic, short, model, recipe):
    other = RankSpace.from_model(model, like_uniform=2, slots="block")
    with pytest.raises(InputError, match=other.digest):
        elastic.measure(other.reference())
    short.recipe = recipe.replace(learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(TrainingError):
        ElasticAdapter.train(short, other, steps=4)
    assert not any("lora" in name for name, _ in model.named_modules())
    elastic.weights = {name: value * math.nan for name, value in elastic.weights.items()}
    assert elastic.measure(elastic.space.reference()).status == "failed"
