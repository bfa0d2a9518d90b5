from __future__ import annotations

import copy

import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.predictor.networks import adaptation
from rankadaptor.predictor.networks.adaptation import ALGORITHMS, call_network, make_learner
from rankadaptor.predictor.networks.perceptron_layers import PerceptronEnsemble, weigh_errors


def train(backend: str, algorithm: str) -> dict[str, torch.Tensor]:
    network = PerceptronEnsemble(members=2, width=8, hidden=6, seed=3)
    learner = make_learner(network, algorithm=algorithm, rate=0.05, backend=backend)
    optimiser = torch.optim.Adam(list(learner.parameters()), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        inputs = torch.randn(10, 9, generator=generator)
        inputs[:, -1] = 1.0
        targets = torch.randn(10, generator=generator)
        mask = (torch.rand(2, 10, generator=generator) < 0.5).float()

        def measure(forward, inputs=inputs, targets=targets, mask=mask):
            return weigh_errors(forward(inputs), targets, mask)

        weights = learner.adapt(measure, steps=3)
        optimiser.zero_grad()
        weigh_errors(call_network(network, weights, inputs), targets, 1 - mask).backward()
        optimiser.step()
    trained = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    return trained | {f"rate{index}": rate.detach().clone() for index, rate in enumerate(learner.rates)}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learn2learn_and_torch_func_end_at_the_same_bits(algorithm: str) -> None:
    pytest.importorskip("learn2learn")
    ours, theirs = train("torch", algorithm), train("learn2learn", algorithm)
    assert set(ours) == set(theirs)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) == 0.0


def test_second_derivatives_are_what_sets_maml_apart() -> None:
    assert any((train("torch", "maml")[n] != t).any() for n, t in train("torch", "first_order").items())


def test_adapting_leaves_the_initialisation_alone() -> None:
    network = PerceptronEnsemble(members=1, width=4, hidden=4)
    before = copy.deepcopy(network.state_dict())
    learner = make_learner(network, backend="torch")
    inputs, targets = torch.ones(3, 5), torch.ones(3)
    adapted = learner.adapt(lambda forward: weigh_errors(forward(inputs), targets, torch.ones(1, 3)), steps=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert any((adapted[name] != before[name]).any() for name in before)


def test_without_the_extra_torch_func_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "is_learn2learn_installed", lambda: False)
    network = PerceptronEnsemble(members=1, width=4, hidden=4)
    assert isinstance(make_learner(network), adaptation.FunctionalLearner)
    with pytest.raises(InputError, match="third_party/learn2learn"):
        make_learner(network, backend="learn2learn")
    with pytest.raises(InputError, match="allowed are"):
        make_learner(network, algorithm="reptile")
