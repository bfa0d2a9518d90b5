from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import RecordFile
from rankadaptor.data.rows import Row
from rankadaptor.errors import CheckpointError, InputError, StorageError
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.model import digest_model, save_pruned
from rankadaptor.named_models import load
from rankadaptor.recipe import Recipe
from rankadaptor.recovery import recover
from rankadaptor.runtime import Compute

COMPUTE = Compute(device="cpu", dtype="float32", threads=1, reason="tests")
RECIPE = Recipe(learning_rate=1e-2, batch_size=4, micro_batch_size=4, sequence_length=64, steps=20)
ANIMALS = ("fox", "dog", "cat", "owl", "hen", "ant", "bee", "elk", "eel", "emu")
ROWS = [
    Row(prompt=f"Question {n}: ", response=f"The {animal} says {n}.") for n, animal in enumerate(ANIMALS * 3)
]


@pytest.fixture
def model(pico_model: Callable[..., Any]) -> Any:
    return pico_model("llama", 2)


@pytest.fixture
def space(model: Any) -> RankSpace:
    return RankSpace.from_model(model, like_uniform=4, slots="block", ranks=(0, 1, 2, 4, 6, 8))


@pytest.fixture
def build(model: Any, pico_tokenizer: Any) -> Callable[..., ShortFineTune]:
    def make(**options: Any) -> ShortFineTune:
        settings = {
            "data": ROWS,
            "recipe": RECIPE,
            "steps": 4,
            "held_out_rows": 6,
            "compute": COMPUTE,
        } | options
        return ShortFineTune(model, pico_tokenizer, **settings)

    return make


def count_trials(measure: ShortFineTune, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    trained: list[tuple[int, ...]] = []
    original = measure.run_trial

    def run_trial(allocation: Any, **options: Any) -> Any:
        trained.append(allocation.values)
        return original(allocation, **options)

    monkeypatch.setattr(measure, "run_trial", run_trial)
    return trained


def test_record_says_what_was_measured(build, space):
    measure = build(setting="pico")
    allocation = space.allocation((6, 2))
    record = measure(allocation, seed=5)
    assert record.status == "ok"
    assert (record.setting, record.values, record.seed, record.steps) == ("pico", (6, 2), 5, 4)
    assert record.fidelity == pytest.approx(0.2)
    assert record.parameters == space.allocation((6, 2)).cost()
    assert record.tokens > 0
    assert record.seconds > 0
    assert len(record.sequence_losses) == 6
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.created)
    assert record.commit
    assert 0 < record.loss < measure.measure_pruned().mean


def test_records_are_paired_with_uniform(build, space):
    measure = build()
    uniform = measure(space.reference(), seed=2)
    assert uniform.gain == 0.0
    record = measure(space.allocation((2, 6)), seed=2)
    assert record.loss_reference == uniform.loss
    assert record.gain == uniform.loss - record.loss
    assert record.gain != 0.0
    assert measure(space.allocation((2, 6)), seed=3).loss_reference != uniform.loss


def test_a_trial_repeats(build, space):
    allocation = space.allocation((1, 6))
    first, second = build()(allocation), build()(allocation)
    assert first.loss == pytest.approx(second.loss, abs=1e-4)
    assert first.sequence_losses == second.sequence_losses
    assert first.loss == second.loss  # one thread: every printed digit


def test_uniform_is_trained_once_per_seed_and_length(build, space, monkeypatch):
    measure = build()
    trained = count_trials(measure, monkeypatch)
    for values in ((6, 2), (2, 6)):
        measure(space.allocation(values))
    measure(space.reference())
    assert trained == [(4, 4), (6, 2), (2, 6)]
    measure(space.reference(), steps=2)
    assert trained[3:] == [(4, 4)]


def test_a_resumed_run_repeats_nothing(build, space, tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    first = build(records=RecordFile(path))(space.allocation((6, 2)))
    resumed = build(records=RecordFile(path))
    trained = count_trials(resumed, monkeypatch)
    assert resumed(space.allocation((6, 2))) == first
    assert resumed(space.allocation((2, 6))).loss_reference == first.loss_reference
    assert trained == [(2, 6)]
    assert [record.values for record in RecordFile(path).records] == [(4, 4), (6, 2), (2, 6)]


def test_a_second_setting_in_the_same_file_repeats_nothing_either(build, space, tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    build(records=RecordFile(path), setting="one")(space.allocation((6, 2)))
    second = build(records=RecordFile(path), setting="two")(space.allocation((6, 2)))
    resumed = build(records=RecordFile(path), setting="two")
    trained = count_trials(resumed, monkeypatch)
    assert resumed(space.allocation((6, 2))) == second
    assert not trained
    assert [record.setting for record in RecordFile(path).records] == ["one", "one", "two", "two"]


def test_a_file_never_answers_for_another_recipe_or_space(build, model, space, tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    build(records=RecordFile(path))(space.reference())
    faster = build(records=RecordFile(path), recipe=RECIPE.replace(learning_rate=2e-2))
    wider = RankSpace.from_model(model, like_uniform=4, slots="block", ranks=(0, 4, 8))
    same = build(records=RecordFile(path))
    for measure, of, expected in ((faster, space, 1), (same, wider, 1), (same, space, 0)):
        trained = count_trials(measure, monkeypatch)
        assert measure(of.reference()).loss is not None
        assert len(trained) == expected
    names = [record.setting for record in RecordFile(path).records]
    assert len(set(names)) == 3
    assert all(name.startswith("unnamed-") for name in names)


def test_a_file_never_answers_for_other_weights(
    model, pico_model, pico_tokenizer, space, tmp_path, monkeypatch
):
    """Neither the last name of a folder nor what the configuration says of an earlier pruning counts."""
    for name in ("a", "b"):
        save_pruned(pico_model("llama", 2, seed=ord(name)), pico_tokenizer, tmp_path / name / "model")
    models = [load(tmp_path / name / "model", compute=COMPUTE)[0] for name in ("a", "b")]
    pruned = copy.deepcopy(model)
    pruned.config.rankadaptor = {"schema": 1, "digest": "0123456789abcdef"}
    adapter = recover(
        pruned, pico_tokenizer, space.reference(), data=ROWS, recipe=RECIPE, steps=2, compute=COMPUTE,
        checkpoint=tmp_path / "checkpoint",
    )  # fmt: skip
    merged = adapter.merge_and_unload()
    path = tmp_path / "records.jsonl"
    names = []
    for number, given in enumerate([*models, pruned, merged, pruned]):
        measure = ShortFineTune(
            given, pico_tokenizer, data=ROWS, recipe=RECIPE, steps=1, held_out_rows=6, compute=COMPUTE,
            records=RecordFile(path),
        )  # fmt: skip
        trained = count_trials(measure, monkeypatch)
        names.append(measure(space.reference()).setting)
        assert len(trained) == (number < 4)
    assert len(set(names)) == 4

    # A second recovery is no continuation of the first.
    with pytest.raises(CheckpointError, match="differs in: weights "):
        recover(
            merged, pico_tokenizer, space.reference(), data=ROWS, recipe=RECIPE, steps=2, compute=COMPUTE,
            checkpoint=tmp_path / "checkpoint",
        )  # fmt: skip
    again = recover(
        pruned, pico_tokenizer, space.reference(), data=ROWS, recipe=RECIPE, steps=2, compute=COMPUTE,
        checkpoint=tmp_path / "checkpoint",
    )  # fmt: skip
    assert digest_model(again.merge_and_unload()) == digest_model(merged)


def test_records_of_earlier_versions_are_read_and_do_not_match(build, space, tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    uniform = build()(space.reference())
    metrics = {**uniform.metrics, "loss": 1.0}
    old = dataclasses.replace(uniform, setting="unnamed-0011223344556677", metrics=metrics)
    RecordFile(path).append(old)
    measure = build(records=RecordFile(path))
    trained = count_trials(measure, monkeypatch)
    assert measure(space.reference()).loss != 1.0
    assert len(trained) == 1
    assert len(RecordFile(path)) == 2


def test_the_model_is_the_same_after_every_trial(build, space, model):
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    flags = [value.requires_grad for value in model.parameters()]
    attributes = sorted(model.__dict__)
    for recipe in (RECIPE, RECIPE.replace(learning_rate=1e30, gradient_clip=0.0)):
        measure = build(recipe=recipe)
        measure(space.allocation((6, 2)))
        assert measure.model is model
        assert model.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert [value.requires_grad for value in model.parameters()] == flags
        assert sorted(model.__dict__) == attributes
        assert not model.training


def test_a_diverged_trial_is_recorded(build, space, tmp_path):
    wild = RECIPE.replace(learning_rate=1e30, gradient_clip=0.0)
    measure = build(recipe=wild, records=RecordFile(tmp_path / "records.jsonl"))
    uniform = measure(space.reference())
    assert uniform.status == "failed"
    assert uniform.loss is None
    assert "learning rate" in uniform.error
    other = measure(space.allocation((6, 2)))
    assert other.status == "failed"
    assert other.gain is None
    assert "uniform" in other.error
    assert len(RecordFile(tmp_path / "records.jsonl").records) == 2
    assert uniform.tokens > 0  # it broke down in the second step or later


def test_a_diverged_allocation_keeps_its_pair(build, space):
    measure = build(recipe=RECIPE.replace(learning_rate=1e30, gradient_clip=0.0))
    record = measure.run_trial(space.allocation((6, 2)), seed=0, steps=4, loss_uniform=4.0)
    assert (record.status, record.loss, record.loss_reference) == ("failed", None, 4.0)


def test_no_row_is_in_both_sets(build, pico_tokenizer):
    doubled = [*ROWS, *ROWS[:10]]
    measure = build(data=doubled)
    training = {sequence.input_ids for sequence in measure.sequences}
    assert not training & {sequence.input_ids for sequence in measure.held_out}
    assert len(measure.held_out) == 6
    given = build(data=ROWS, held_out=ROWS[:8])
    assert len(given.held_out) == 8
    assert len(given.sequences) == len(ROWS) - 8


def test_split_depends_on_the_seed_of_the_measure_alone(build):
    assert build(seed=1).held_out == build(seed=1).held_out
    assert build(seed=1).held_out != build(seed=2).held_out


def test_too_little_data_is_refused(build):
    with pytest.raises(InputError, match=r"make 2 training and 6 held-out sequences"):
        build(data=ROWS[:8])


def test_a_folder_that_cannot_be_written_is_named(build, space, tmp_path):
    blocked = tmp_path / "file"
    measure = build(records=RecordFile(blocked / "records.jsonl"))
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match=r"records\.jsonl"):
        measure(space.reference())


def test_an_allocation_of_another_model_is_refused(build, pico_model):
    other = RankSpace.from_model(pico_model("llama", 3), like_uniform=4, slots="block")
    with pytest.raises(InputError, match="no such linear"):
        build()(other.reference())
