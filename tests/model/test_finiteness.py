"""A NaN or an infinity is named with its tensor, wherever it shows first."""

from __future__ import annotations

import math

import pytest
import torch

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora.attach import attach_adapter
from rankadaptor.data.rows import load_rows
from rankadaptor.data.sequences import tokenise_rows
from rankadaptor.errors import InputError, NonFiniteError, TrainingError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import compute_digest, write_json
from rankadaptor.pruning import prune
from rankadaptor.pruning.importance import IMPORTANCES
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import choose_compute
from rankadaptor.training.loop import fine_tune

EXACT = choose_compute(device="cpu", dtype="float32")
TEXTS = [f"The river number {i} runs under {i + 2} bridges and through the old town." for i in range(12)]
NAME = "model.layers.1.mlp.up_proj"
KINDS = ("gate_proj", "up_proj", "down_proj")
CALIBRATED = {"calibration": TEXTS, "examples": 3, "length": 12}


@pytest.fixture
def model(pico_model):
    return pico_model("llama", 2)


@pytest.fixture
def sequences(pico_tokenizer):
    return tokenise_rows(load_rows(TEXTS), pico_tokenizer, max_length=24)


def spoil(model, value: float = math.nan) -> None:
    with torch.no_grad():
        model.get_submodule(NAME).weight[3, 5] = value


@pytest.mark.parametrize("importance", [*IMPORTANCES, "block_influence"])
def test_every_importance_refuses_broken_weights(model, pico_tokenizer, importance) -> None:
    targets = ["blocks"] if importance == "block_influence" else ["heads", "channels"]
    options = {"ratio": 0.5, "importance": importance, "targets": targets, **CALIBRATED}
    spoil(model)
    with pytest.raises(NonFiniteError, match=rf"cannot be pruned.*{NAME}\.weight \(1 NaN of 2048 numbers\)"):
        prune(model, pico_tokenizer, **options)
    spoil(model, math.inf)
    with pytest.raises(NonFiniteError, match=rf"{NAME}\.weight \(1 infinite of 2048"):
        prune(model, pico_tokenizer, **options)


@pytest.mark.parametrize("importance", ["param_first", "wanda", "flap", "block_influence"])
def test_overflow_on_the_way_is_named_with_the_module_where_it_begins(
    model, pico_tokenizer, importance
) -> None:
    targets = ["blocks"] if importance == "block_influence" else ["heads", "channels"]
    with torch.no_grad():  # finite weights whose products are not
        for kind in ("gate_proj", "up_proj"):
            model.get_submodule(f"model.layers.1.mlp.{kind}").weight.fill_(1e38)
    with pytest.raises(
        NonFiniteError, match=r"output of model\.layers\.1\.mlp\.\w+ is the first that is not"
    ):
        prune(model, pico_tokenizer, ratio=0.5, importance=importance, targets=targets, **CALIBRATED)


def test_scores_that_say_nothing_or_overflow_together_are_refused(model) -> None:
    with torch.no_grad():
        for index in range(2):
            for kind in KINDS:
                model.get_submodule(f"model.layers.{index}.mlp.{kind}").weight.zero_()
    with pytest.raises(InputError, match=r"importance='l2'.*all scores of all channels are 0"):
        prune(model, None, ratio=0.3, importance="l2", targets=["channels"])
    prune(model, None, ratio=0.3, importance="random", targets=["channels"])
    model.double()
    with torch.no_grad():
        for kind in KINDS:
            model.get_submodule(f"model.layers.1.mlp.{kind}").weight.fill_(1e120)
    with pytest.raises(NonFiniteError, match=r"aggregation='prod'.*channels of block 1"):
        prune(model, None, ratio=0.3, importance="l1", targets=["channels"], aggregation="prod")


def test_losses_name_the_tensor(model, sequences) -> None:
    with torch.no_grad():
        model.get_submodule("model.layers.1.mlp.gate_proj").weight.fill_(1e38)
        model.get_submodule(NAME).weight.fill_(1e38)
    with pytest.raises(
        NonFiniteError, match=r"held-out loss is nan on sequence 0.*output of model\.layers\.1"
    ):
        measure_loss(model, sequences, compute=EXACT)
    spoil(model)
    with pytest.raises(NonFiniteError, match=rf"held-out loss is nan.*{NAME}\.weight \(1 NaN"):
        measure_loss(model, sequences, compute=EXACT)


def test_a_fine_tune_blames_the_model_and_not_the_learning_rate(model, sequences) -> None:
    spoil(model)
    space = RankSpace.from_model(model, like_uniform=2, ranks=[0, 2, 4], slots="linear")
    recipe = Recipe(batch_size=4, micro_batch_size=2, sequence_length=24, steps=2)
    adapted = attach_adapter(model, space.reference(), recipe, seed=0)
    with pytest.raises(TrainingError, match=r"step 1 of 2.*up_proj\.\S*weight \(1 NaN") as caught:
        fine_tune(adapted, sequences, recipe=recipe, steps=2, seed=0, compute=EXACT)
    assert "Lower the learning rate" not in str(caught.value)


def test_json_names_the_place_and_keeps_what_was_there(tmp_path) -> None:
    path = tmp_path / "step.json"
    write_json(path, {"loss": 1.0})
    with pytest.raises(NonFiniteError, match=r"step\.json: not written, because losses\.pruned\[1\] is nan"):
        write_json(path, {"losses": {"dense": 3.0, "pruned": [1.0, math.nan]}})
    assert path.read_text() == '{\n  "loss": 1.0\n}\n'
    with pytest.raises(NonFiniteError, match=r"the value is inf"):
        compute_digest(math.inf)
