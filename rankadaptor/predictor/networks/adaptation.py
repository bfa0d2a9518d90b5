"""The inner loop of meta-learning: a few differentiable gradient steps from an initialisation.

Model-agnostic meta-learning [MAML]_, its first-order form, [MetaSGD]_, which also learns one rate per
weight, and [ANIL]_, which adapts only the head. learn2learn computes the steps where it is installed (the
extra `meta`); otherwise `torch.func` does, with bit-identical results.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from rankadaptor.errors import InputError

ALGORITHMS = ("maml", "first_order", "meta_sgd", "anil")
BACKENDS = ("auto", "learn2learn", "torch")
Forward: TypeAlias = Callable[[Any], Tensor]
Loss: TypeAlias = Callable[[Forward], Tensor]
Weights: TypeAlias = dict[str, Tensor]


class Learner(Protocol):
    """An initialisation that can be adapted, with learned rates for `meta_sgd`."""

    network: nn.Module

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the outer optimiser trains: the network's weights, then learned rates if any."""

    def adapt(self, loss: Loss, *, steps: int) -> Weights:
        """Take gradient steps on `loss` from the initialisation; return the adapted weights by name.

        Gradients flow from them back to `parameters()`.
        """

    @property
    def rates(self) -> list[Tensor]:
        """The learned rates, one tensor per weight tensor; empty unless `meta_sgd`."""


@functools.cache
def is_learn2learn_installed() -> bool:
    """Whether learn2learn can be imported."""
    return importlib.util.find_spec("learn2learn") is not None


def make_learner(
    network: nn.Module, *, algorithm: str = "maml", rate: float = 0.05, backend: str = "auto"
) -> Learner:
    """Wrap a network for meta-training or for adapting to one setting.

    Args:
        network: The initialisation; its weights are trained in place.
        algorithm: `maml`, `first_order` (no second derivatives), `meta_sgd` (a learned rate per weight) or
            `anil` (the steps change only the parameters in `head_names()`).
        rate: Learning rate of an inner step; its initial value for `meta_sgd`.
        backend: `learn2learn`, `torch`, or `auto` for the first if installed.

    Raises:
        InputError: If a name is unknown, or learn2learn is asked for but not installed.
    """
    if algorithm not in ALGORITHMS or backend not in BACKENDS:
        raise InputError(
            f"algorithm={algorithm!r}, backend={backend!r}: allowed are {ALGORITHMS} and {BACKENDS}."
        )
    if backend == "learn2learn" and not is_learn2learn_installed():
        raise InputError(
            "backend='learn2learn', but it is not installed. In a checkout, run "
            "`pip install ./third_party/learn2learn`, or use backend='torch', which computes the same steps."
        )
    if backend == "torch" or not is_learn2learn_installed():
        return FunctionalLearner(network, algorithm=algorithm, rate=rate)
    return Learn2LearnLearner(network, algorithm=algorithm, rate=rate)


class Learn2LearnLearner:
    """Adapts with `learn2learn.algorithms`."""

    def __init__(self, network: nn.Module, *, algorithm: str, rate: float) -> None:
        from learn2learn.algorithms import MAML, MetaSGD

        self.network = network
        self._head = list_adapted(network, algorithm) if algorithm == "anil" else []
        self._learner: nn.Module
        if algorithm == "meta_sgd":
            self._learner = MetaSGD(network, lr=rate)
        else:
            parameters = dict(network.named_parameters())
            adapted = nn.ParameterList([parameters[name] for name in self._head]) if self._head else network
            self._learner = MAML(adapted, lr=rate, first_order=algorithm == "first_order")

    def parameters(self) -> Iterator[nn.Parameter]:
        """See `Learner`."""
        yield from self.network.parameters()
        yield from getattr(self._learner, "lrs", ())

    def adapt(self, loss: Loss, *, steps: int) -> Weights:
        """See `Learner`."""
        clone = self._learner.clone()  # type: ignore[operator]
        if self._head:
            for _ in range(steps):
                clone.adapt(loss(functools.partial(call_network, self.network, self._join(clone.module))))
            return self._join(clone.module)
        for _ in range(steps):
            clone.adapt(loss(clone))
        return dict(clone.module.named_parameters())

    def _join(self, head: nn.Module) -> Weights:
        weights: Weights = dict(self.network.named_parameters())
        return weights | dict(zip(self._head, head.parameters(), strict=True))

    @property
    def rates(self) -> list[Tensor]:
        """See `Learner`."""
        return list(getattr(self._learner, "lrs", ()))


class FunctionalLearner:
    """Adapts with `torch.func.functional_call`."""

    def __init__(self, network: nn.Module, *, algorithm: str, rate: float) -> None:
        self.network, self.rate, self.first_order = network, rate, algorithm == "first_order"
        self._adapted = list_adapted(network, algorithm)
        learned = network.parameters() if algorithm == "meta_sgd" else ()
        self._rates = [nn.Parameter(torch.ones_like(parameter) * rate) for parameter in learned]

    def parameters(self) -> Iterator[nn.Parameter]:
        """See `Learner`."""
        yield from self.network.parameters()
        yield from self._rates

    def adapt(self, loss: Loss, *, steps: int) -> Weights:
        """See `Learner`."""
        weights: Weights = dict(self.network.named_parameters())
        for _ in range(steps):
            value = loss(functools.partial(call_network, self.network, weights))
            current = [weights[name] for name in self._adapted]
            gradients = torch.autograd.grad(value, current, create_graph=not self.first_order)
            rates: Sequence[Tensor | float] = self._rates or [self.rate] * len(gradients)
            moved = [w - rate * g for w, rate, g in zip(current, rates, gradients, strict=True)]
            weights = weights | dict(zip(self._adapted, moved, strict=True))
        return weights

    @property
    def rates(self) -> list[Tensor]:
        """See `Learner`."""
        return list(self._rates)


def list_adapted(network: nn.Module, algorithm: str) -> list[str]:
    """Return the names of the parameters that an inner step changes."""
    if algorithm == "anil":
        return cast("Callable[[], list[str]]", network.head_names)()
    return [name for name, _ in network.named_parameters()]


def call_network(network: nn.Module, weights: Weights, inputs: Any) -> Tensor:
    """Run a network with the given weights instead of its own."""
    outputs: Tensor = torch.func.functional_call(network, weights, (inputs,))
    return outputs
