from __future__ import annotations

import pytest
import torch

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.measure import SliceScore
from rankadaptor.supernet import SuperNetwork, find_smallest
from rankadaptor.supernet.storage import Trained, load_super_network, read_trained, save_super_network
from rankadaptor.supernet.training import train_super_network

TRAINED = Trained(steps=3, rule="sandwich", tokens=10, seconds=1.0)


def test_a_stored_super_network_has_the_same_slices(build, recipe, sequences, compute, tmp_path):
    model, space = build("llama")
    tokens = torch.tensor([sequences[0].input_ids])
    allocation = space.reference("middle")
    with SuperNetwork(model, space, recipe, importance="l1") as network:
        train_super_network(network, sequences, steps=2, compute=compute)
        save_super_network(network, tmp_path, trained=TRAINED)
        with network.applied(allocation), torch.no_grad():
            logits = model(input_ids=tokens).logits
    assert read_trained(tmp_path) == TRAINED
    with load_super_network(build("llama")[0], tmp_path) as other, other.applied(allocation), torch.no_grad():
        assert torch.equal(other.model(input_ids=tokens).logits, logits)
        assert (other.space, other.recipe, other.importance) == (space, recipe, "l1")
    with pytest.raises(CheckpointError, match=r"trained on the weights \w+, but the model has"):
        load_super_network(build("llama", blocks=2)[0], tmp_path)
    (tmp_path / "super_network.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="not what was written"):
        load_super_network(build("llama")[0], tmp_path)
    with pytest.raises(InputError):
        read_trained(tmp_path / "nowhere")


def test_slices_are_scored_like_those_of_a_live_model(build, recipe, sequences, compute):
    """The dense model is the one without the adapter; an untrained adapter changes nothing."""
    model, space = build("qwen3", depth=False)
    with SuperNetwork(model, space, recipe) as network:
        untrained = SliceScore(network, sequences, compute=compute).measure([space.reference()])[0]
        assert untrained.metrics["kl"] == pytest.approx(0.0, abs=1e-6)
        train_super_network(network, sequences, steps=20, compute=compute)
        score = SliceScore(network, sequences, compute=compute)
        records = score.measure([space.reference(), space.reference("middle"), find_smallest(space)])
    losses = [record.metrics["loss"] for record in records]
    assert losses[0] < losses[1] < records[0].metrics["loss_reference"] - 0.3  # trained on this text
    assert records[0].metrics["loss_reference"] == pytest.approx(untrained.metrics["loss"], abs=1e-6)
    assert records[0].costs["parameters"] > records[1].costs["parameters"]
    assert records[0].setting != untrained.setting
