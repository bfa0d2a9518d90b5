from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from rankadaptor.components.adapter.lora.attach import attach_adapter, list_adapter_parameters
from rankadaptor.errors import CheckpointError, InputError, TrainingError
from rankadaptor.recipe import Recipe
from rankadaptor.training import fine_tune
from rankadaptor.training.schedule import compute_learning_rate


@pytest.fixture
def train(pico_model, mixed, recipe, sequences, compute):
    """Train a fresh adapter on a fresh model; return the result and the adapter's weights."""

    def run(*, steps: int = 6, seed: int = 0, changes: dict[str, Any] | None = None, **options: Any):
        chosen = recipe.replace(**(changes or {}))
        peft_model = attach_adapter(pico_model("llama", 2), mixed, chosen, seed=seed)
        data = options.pop("data", sequences)
        result = fine_tune(
            peft_model, data, recipe=chosen, steps=steps, seed=seed, compute=compute, **options
        )
        return result, {
            name: value.detach().clone() for name, value in list_adapter_parameters(peft_model).items()
        }

    return run


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_loss_falls(train):
    result, _ = train(steps=60)
    assert result.steps == 60
    assert sum(result.losses[-5:]) / 5 < 0.6 * result.losses[0]
    assert result.tokens > 0
    assert result.seconds > 0


def test_one_seed_gives_one_adapter(train):
    first, second, other = train(), train(), train(seed=1)
    assert first[0].losses == second[0].losses
    assert_equal(first[1], second[1])
    assert first[0].losses != other[0].losses


def test_accumulation_equals_the_big_batch(train):
    whole, adapter = train(steps=4)
    parts, adapter_by_parts = train(steps=4, changes={"micro_batch_size": 1})
    assert parts.losses == pytest.approx(whole.losses, abs=1e-5)
    for name in adapter:
        torch.testing.assert_close(adapter_by_parts[name], adapter[name], atol=1e-4, rtol=1e-4)


def test_gradient_checkpointing_changes_nothing(train):
    plain, adapter = train(steps=3)
    saving, adapter_saving = train(steps=3, changes={"gradient_checkpointing": True})
    assert saving.losses == pytest.approx(plain.losses, abs=1e-6)
    for name in adapter:
        torch.testing.assert_close(adapter_saving[name], adapter[name], atol=1e-5, rtol=1e-4)


class InterruptionError(Exception):
    pass


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2}])
def test_resumed_equals_uninterrupted(train, tmp_path, sequences, changes):
    def stop_at_five(report: Any) -> None:
        if report.step == 5:
            raise InterruptionError

    options = {"held_out": sequences[:3], "evaluate_every": 2, "changes": changes, "steps": 8}
    whole, adapter = train(**options)
    with pytest.raises(InterruptionError):
        train(**options, checkpoint=tmp_path, checkpoint_every=2, on_step=stop_at_five)
    assert json.loads((tmp_path / "training.json").read_text())["step"] == 4
    resumed, adapter_resumed = train(**options, checkpoint=tmp_path, checkpoint_every=2)
    assert_equal(adapter_resumed, adapter)
    assert resumed.losses == whole.losses
    assert resumed.curve == whole.curve
    assert resumed.tokens == whole.tokens
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    again, adapter_again = train(**options, checkpoint=tmp_path, on_step=stop_at_five)
    assert_equal(adapter_again, adapter)
    assert again.losses == whole.losses


def test_a_checkpoint_of_another_run_is_refused(train, tmp_path):
    train(steps=2, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"steps 2 → 4"):
        train(steps=4, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"recipe\.learning_rate 0\.01 → 0\.02"):
        train(steps=2, checkpoint=tmp_path, changes={"learning_rate": 0.02})


def test_a_finished_run_is_no_answer_to_one_that_stops_early(train, tmp_path, sequences):
    train(steps=2, checkpoint=tmp_path)
    with pytest.raises(
        CheckpointError, match=r"evaluate_every None → 1.*held_out None → .*patience None → 1"
    ):
        train(steps=2, checkpoint=tmp_path, held_out=sequences[:4], evaluate_every=1, patience=1)
    file = tmp_path / "training.json"
    earlier = json.loads(file.read_text())
    earlier["identity"] = {
        key: value for key, value in earlier["identity"].items() if key not in {"held_out", "evaluate_every"}
    }
    file.write_text(json.dumps(earlier))
    train(steps=2, checkpoint=tmp_path, held_out=sequences[:4], evaluate_every=1)


def test_dropout_of_the_base_model_is_seeded_too(pico_model, mixed, recipe, sequences, compute):
    losses = []
    for other in (1, 2):
        model = pico_model("llama", 2)
        model.config.attention_dropout = 0.3
        for block in model.model.layers:
            block.self_attn.attention_dropout = 0.3
        peft_model = attach_adapter(model, mixed, recipe, seed=0)
        torch.manual_seed(other)
        losses.append(
            fine_tune(peft_model, sequences, recipe=recipe, steps=3, seed=0, compute=compute).losses
        )
    assert losses[0] == losses[1]


def test_a_torn_checkpoint_is_named(train, tmp_path):
    train(steps=2, checkpoint=tmp_path)
    said = (tmp_path / "training.json").read_text()
    for content, fault in (
        ("[]", "an object of JSON"),
        ("{}", "lacks best_step"),
        (said[:-9], "not valid JSON"),
    ):
        (tmp_path / "training.json").write_text(content)
        with pytest.raises(CheckpointError, match=rf"training\.json.*{fault}.* Delete the folder to start"):
            train(steps=2, checkpoint=tmp_path)
    (tmp_path / "training.json").write_text(said)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=weights.name):
        train(steps=2, checkpoint=tmp_path)


def test_early_stop_keeps_the_best_adapter(train, sequences):
    best_seen: dict[int, float] = {}

    def note(report: Any) -> None:
        if report.held_out_loss is not None:
            best_seen[report.step] = report.held_out_loss

    # Trained on rows 0 to 7 alone at a high rate, rows it never saw get worse.
    result, _ = train(
        steps=200, data=sequences[:8], held_out=sequences[12:], evaluate_every=4, patience=3, on_step=note,
        changes={"learning_rate": 5e-2},
    )  # fmt: skip
    assert result.stopped_early
    assert result.steps < 200
    assert result.best_step == min(best_seen, key=best_seen.__getitem__)
    assert result.best_step < result.steps
    again, _ = train(
        steps=200, data=sequences[:8], held_out=sequences[12:], evaluate_every=4, patience=3,
        changes={"learning_rate": 5e-2},
    )  # fmt: skip
    assert again.curve == result.curve


def test_the_adapter_left_is_the_best_one(pico_model, mixed, recipe, sequences, compute):
    from rankadaptor.evaluation.heldout import measure_loss

    chosen = recipe.replace(learning_rate=5e-2)
    peft_model = attach_adapter(pico_model("llama", 2), mixed, chosen, seed=0)
    held_out = sequences[12:]
    result = fine_tune(
        peft_model, sequences[:8], recipe=chosen, steps=200, seed=0, compute=compute, held_out=held_out,
        evaluate_every=4, patience=3,
    )  # fmt: skip
    assert measure_loss(peft_model, held_out, compute=compute).mean == min(
        point.loss for point in result.curve
    )


def test_breakdown_names_the_step(train):
    with pytest.raises(TrainingError, match="learning rate") as caught:
        train(steps=20, changes={"learning_rate": 1e30, "gradient_clip": 0.0})
    assert 1 < caught.value.step <= 20


def test_faults_of_the_caller(train, sequences):
    with pytest.raises(InputError, match=r"3 sequences with a label, fewer than a batch of 4"):
        train(data=sequences[:3])
    with pytest.raises(InputError, match="steps=0"):
        train(steps=0)
    with pytest.raises(InputError, match="early stopping"):
        train(patience=2)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rate_rises_and_falls(schedule):
    recipe = Recipe(learning_rate=1.0, warmup_share=0.1, schedule=schedule)
    rates = [compute_learning_rate(step, steps=100, recipe=recipe) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1)
    one = compute_learning_rate(1, steps=1, recipe=recipe)
    assert one == 1.0
    assert math.isfinite(compute_learning_rate(1, steps=1, recipe=recipe.replace(warmup_share=0.0)))
