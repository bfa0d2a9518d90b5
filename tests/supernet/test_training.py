"""Training of a super-network: what a step trains, and that a resumed run gives the same result."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora import attach_adapter
from rankadaptor.components.adapter.lora.attach import list_adapter_parameters
from rankadaptor.components.depth import is_dropped
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.space import Allocation
from rankadaptor.supernet import SuperNetwork, draw_plan, find_smallest, find_widest
from rankadaptor.supernet.distillation import InPlaceTeacher
from rankadaptor.supernet.training import SlicePasses, train_super_network
from rankadaptor.training import fine_tune
from rankadaptor.training.loop import _Run
from rankadaptor.training.process_group import ALONE
from rankadaptor.training.teacher import open_teacher
from tests.supernet.conftest import shake


def test_plans_follow_their_rule(build):
    space = build("llama")[1]
    counts = [len(slot.options) for slot in space.slots]
    plan = draw_plan(space, 30, seed=0)
    widest, smallest = find_widest(space), find_smallest(space)
    assert all(tuple(rows[0]) == widest.choices and tuple(rows[1]) == smallest.choices for rows in plan)
    assert not any(label[0] == 0 for label in smallest.values if isinstance(label, tuple))
    drawn = np.concatenate([rows[2:] for rows in plan])
    assert [len(np.unique(column)) for column in drawn.T] == counts  # every option of every slot
    assert all(np.array_equal(a, b) for a, b in zip(plan[:5], draw_plan(space, 5, seed=0), strict=True))
    assert not np.array_equal(plan[0], draw_plan(space, 1, seed=1)[0])
    assert [len(rows) for rows in draw_plan(space, 3, seed=0, rule="random")] == [1, 1, 1]
    dropped = [
        sum(is_dropped(label) for label in Allocation(tuple(row), space).values) for row in drawn.tolist()
    ]
    assert set(dropped) == {0, 1}  # a quarter of six halves
    more = np.concatenate(draw_plan(space, 60, seed=0, rule="random", dropped=0.5)).tolist()
    found = {sum(is_dropped(label) for label in Allocation(tuple(row), space).values) for row in more}
    assert found == {0, 1, 2, 3}
    turns = draw_plan(space, 4, seed=0, rule="alternating")
    assert [tuple(rows[0]) == widest.choices for rows in turns] == [True, False, True, False]
    with pytest.raises(InputError, match="allowed are sandwich, random, alternating"):
        draw_plan(space, 3, seed=0, rule="club")
    with pytest.raises(InputError, match="at least 1"):
        draw_plan(space, 0, seed=0)


def take_gradients(network, passes, sequences, compute, *, recipe, micro=4):
    recipe = recipe.replace(micro_batch_size=micro)
    network.set(find_widest(network.space))
    run = _Run(
        network.peft_model,
        recipe=recipe,
        steps=1,
        seed=0,
        compute=compute,
        group=ALONE,
        teacher=None,
        passes=passes,
    )
    with run.training():
        pieces = [sequences[start : start + micro] for start in range(0, 4, micro)]
        labels = sum(sequence.targets for sequence in sequences[:4])
        loss = passes.go_back(1, pieces, labels=labels, run=run)
        found = {name: value.grad.clone() for name, value in run.parameters.items()}
    network.set(None)
    return loss, found


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_has_the_mean_gradient_of_its_slices(build, recipe, sequences, compute, checkpointing):
    recipe = recipe.replace(gradient_checkpointing=checkpointing)
    model, space = build("llama")
    with SuperNetwork(model, space, recipe) as network:
        (rows,) = draw_plan(space, 1, seed=3)
        common = {"recipe": recipe}
        alone = [
            take_gradients(
                network, SlicePasses(network, [row[None]], balanced=False), sequences, compute, **common
            )
            for row in rows
        ]
        loss, plain = take_gradients(
            network, SlicePasses(network, [rows], balanced=False), sequences, compute, **common
        )
        assert loss == pytest.approx(alone[0][0], abs=1e-6)
        for name, gradient in plain.items():
            torch.testing.assert_close(gradient, sum(each[name] for _, each in alone) / 4)
        for micro in (4, 2):  # gradients of balanced losses do not depend on micro batches either
            _, balanced = take_gradients(
                network,
                SlicePasses(network, [rows], balanced=True),
                sequences,
                compute,
                **common,
                micro=micro,
            )
            for name, gradient in balanced.items():
                wanted = sum(each[name] * alone[0][0] / own for own, each in alone) / 4
                torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_a_slice_is_that_of_the_extracted_model(build, recipe, sequences, compute):
    model, space = build("llama", depth=False)
    allocation = space.reference("middle")
    with SuperNetwork(model, space, recipe) as network:
        small = network.extract(allocation).model
        passes = SlicePasses(network, [np.array([allocation.choices])], balanced=False)
        loss, found = take_gradients(network, passes, sequences, compute, recipe=recipe)
        order = network._live.order("block0.mlp")
    run = _Run(small, recipe=recipe, steps=1, seed=0, compute=compute, group=ALONE, teacher=None, passes=None)
    report = run.take_step(1, sequences[:4])
    assert report.loss == pytest.approx(loss, abs=1e-6)
    expected = fine_tune(small, sequences[:4], recipe=recipe, steps=1, seed=0, compute=compute)
    assert expected.steps == 1
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.whole"
    kept, gone = order[:96], order[96:]
    assert found[name][kept][:, :2].abs().max() > 0
    assert not found[name][gone].any()
    assert not found[name][:, 2:].any()


def test_a_resumed_run_gives_the_same_weights(build, recipe, sequences, compute, tmp_path):
    def train(folder, steps_at_once):
        model, space = build("qwen2")
        with SuperNetwork(model, space, recipe, seed=4) as network:

            def stop(report):
                if report.step == steps_at_once:
                    raise KeyboardInterrupt

            settings = {"steps": 5, "compute": compute, "checkpoint": folder, "checkpoint_every": 1}
            try:
                train_super_network(network, sequences, **settings, on_step=stop)
            except KeyboardInterrupt:
                network.load_weights({name: value * 0 for name, value in network.read_weights().items()})
                train_super_network(network, sequences, **settings)
            assert network.chosen is None
            if folder is not None and steps_at_once:
                with pytest.raises(CheckpointError, match="plan"):
                    train_super_network(network, sequences, **settings, rule="random")
            return network.read_weights()

    whole, resumed = train(None, 0), train(tmp_path, 2)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_training_makes_slices_better(build, recipe, sequences, compute):
    model, space = build("llama", depth=False, ranks=(2, 4))
    allocation = space.reference("middle")

    with SuperNetwork(model, space, recipe) as network:

        def score(choice):
            with network.applied(choice):
                return measure_loss(network.peft_model, sequences, compute=compute).mean

        before = [score(choice) for choice in (find_widest(space), allocation, find_smallest(space))]
        result = train_super_network(
            network, sequences, steps=20, compute=compute, held_out=sequences[:4], evaluate_every=10
        )
        after = [score(choice) for choice in (find_widest(space), allocation, find_smallest(space))]
    assert len(result.losses) == 20
    assert result.curve[-1].loss < result.curve[0].loss
    assert all(new < old - 0.3 for new, old in zip(after, before, strict=True))


def test_a_super_network_of_one_allocation_trains_as_its_adapter_alone(build, recipe, sequences, compute):
    model, space = build("llama", ranks=(4,), width=False, attention=False, depth=False)
    common = {"steps": 3, "compute": compute}
    with SuperNetwork(model, space, recipe) as network:
        assert len({len(slot.options) for slot in space.slots}) == 1
        found = train_super_network(network, sequences, **common, rule="random")
        weights = network.read_weights()
    ranks = RankSpace.from_model(model, like_uniform=4, ranks=(4,))
    alone = attach_adapter(model, ranks.reference(), recipe, seed=0)
    expected = fine_tune(alone, sequences, recipe=recipe, seed=0, **common)
    assert found.losses == expected.losses
    for name, value in list_adapter_parameters(alone).items():
        key = name.removeprefix("base_model.model.").replace(".lora_", ".").replace(".default.weight", "")
        assert torch.equal(value, weights[key])


def test_smaller_slices_follow_the_largest_one(build, recipe, sequences, compute, monkeypatch):
    """Their loss is the KL divergence from it; the same where batches are not packed."""
    model, space = build("llama", depth=False, ranks=(2, 4))
    with SuperNetwork(model, space, recipe) as network:
        network.set(find_widest(space))
        shake(network.peft_model)
        (rows,) = draw_plan(space, 1, seed=3)
        teacher = InPlaceTeacher(network, compute=compute)
        passes = SlicePasses(network, [rows], balanced=False, teacher=teacher)
        loss, found = take_gradients(network, passes, sequences, compute, recipe=recipe, micro=2)
        assert not teacher._kept
        assert teacher.tokens == 0  # no pass of its own
        monkeypatch.setattr("rankadaptor.training.loss.find_obstacle", lambda *_, **__: "the test")
        padded_loss, padded = take_gradients(network, passes, sequences, compute, recipe=recipe)
        assert teacher.tokens == sum(map(len, sequences[:4]))
        monkeypatch.undo()
        assert loss == pytest.approx(padded_loss, abs=1e-5)
        network.set(find_widest(space))
        big = copy.deepcopy(network.extract(find_widest(space)).model).merge_and_unload()
        network.set(None)
        taught = [
            take_gradients(
                network, SlicePasses(network, [rows[:1]], balanced=False), sequences, compute, recipe=recipe
            )
        ]
        guided = recipe.replace(loss="distill")
        for row in rows[1:]:
            small = network.extract(Allocation(tuple(row.tolist()), space)).model
            run = _Run(
                small, recipe=guided, steps=1, seed=0, compute=compute, group=ALONE, passes=None,
                teacher=open_teacher(big, small, recipe=guided, compute=compute),
            )  # fmt: skip
            labels = sum(sequence.targets for sequence in sequences[:4])
            kl = run.sum_losses(sequences[:4]).sum().item() / labels
            _, gradients = take_gradients(
                network, SlicePasses(network, [np.stack([rows[0], row])], balanced=False, teacher=teacher),
                sequences, compute, recipe=recipe,
            )  # fmt: skip
            assert kl > 0.01
            taught.append((kl, {name: 2 * value - taught[0][1][name] for name, value in gradients.items()}))
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, padded[name], rtol=1e-3, atol=1e-4)
            wanted = sum(each[name] for _, each in taught) / len(rows)
            torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4)
