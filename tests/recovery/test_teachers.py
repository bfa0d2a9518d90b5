"""Teachers as users name them."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter.lora.attach import list_adapter_parameters
from rankadaptor.errors import InputError
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.recovery import recover, tune_recipe


@pytest.fixture
def dense(pico_model: Any) -> Any:
    return pico_model("llama", 2, seed=5)


@pytest.fixture
def recover_towards(model, mixed, recipe, rows, pico_tokenizer, compute):
    def run(teacher: Any, **changes: Any) -> dict[str, torch.Tensor]:
        chosen = recipe.replace(steps=3, **{"loss": "distill", **changes})
        adapter = recover(
            model, pico_tokenizer, mixed, data=rows, patience=None, recipe=chosen, compute=compute,
            teacher=teacher,
        )  # fmt: skip
        return {name: value.detach() for name, value in list_adapter_parameters(adapter).items()}

    return run


def test_a_teacher_may_be_a_model_what_load_returned_or_a_folder(
    recover_towards, dense, pico_tokenizer, tmp_path
):
    dense.save_pretrained(tmp_path)
    pico_tokenizer.save_pretrained(tmp_path)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    expected = recover_towards(dense)
    for teacher in ((dense, pico_tokenizer), tmp_path, str(tmp_path)):
        found = recover_towards(teacher)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    assert not dense.training
    other = recover_towards(None, loss="plain")
    assert not all(torch.equal(other[name], expected[name]) for name in expected)


def test_a_teacher_without_a_recipe_is_distilled_from(
    model, mixed, rows, pico_tokenizer, compute, dense, recover_towards, recipe
):
    with pytest.raises(InputError, match=r"A teacher is given, but the recipe has loss='plain'"):
        recover_towards(dense, loss="plain")
    common = {"data": rows, "patience": None, "compute": compute, "steps": 2, "teacher": dense}
    found = recover(model, pico_tokenizer, mixed, **common)
    named = recover(model, pico_tokenizer, mixed, recipe=type(recipe)(loss="distill"), **common)
    for one, other in zip(*(list_adapter_parameters(each).values() for each in (found, named)), strict=True):
        assert torch.equal(one, other)


def test_another_tokenizer_is_refused(recover_towards, dense, pico_tokenizer):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    described = json.loads(pico_tokenizer.backend_tokenizer.to_str())
    entries = described["model"]["vocab"]
    entries["A"], entries["B"] = entries["B"], entries["A"]
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))
    with pytest.raises(
        InputError, match=r"another tokenizer: 128 tokens against 128, 2 of them differ, for example 'A'"
    ):
        recover_towards((dense, other))


def test_the_model_itself_as_teacher_only_holds_the_adapter_back(recover_towards, model, caplog):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.WARNING, logger="rankadaptor"):
        found = recover_towards(model)
    assert "the divergence begins at zero and only holds the adapter back" in caplog.text
    assert all(value.abs().max() < 1e-3 for name, value in found.items() if "lora_B" in name)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tuning_and_short_fine_tunes_have_the_same_teacher(
    model, space, recipe, rows, pico_tokenizer, compute, dense
):
    chosen = recipe.replace(loss="distill", reference_rank=4)
    common = {"data": rows[4:], "held_out": rows[:4], "recipe": chosen, "steps": 2, "compute": compute}
    tuned = tune_recipe(
        model, pico_tokenizer, space, learning_rates=[chosen.learning_rate], teacher=dense, **common
    )
    measure = ShortFineTune(model, pico_tokenizer, teacher=dense, **common)
    assert measure(space.reference()).loss == tuned.trials[0].loss
    other = ShortFineTune(
        model, pico_tokenizer, teacher=copy.deepcopy(model), **(common | {"recipe": chosen})
    )
    assert other.name_setting(space) != measure.name_setting(space)
