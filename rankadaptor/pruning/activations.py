"""Activation-aware importance, from the norm or the variance of each input on the calibration text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import Member

ACTIVATION = ("wanda", "flap")
CHUNK_SEQUENCES = 8


def score_activations(
    model: Any, members: Sequence[Member], sequences: torch.Tensor, *, importance: str
) -> dict[str, Array]:
    """Score rows or columns by their weights and input activations; needs forward passes only.

    With X_j the input feature j over all calibration tokens: `wanda` sums |W_ij| · ‖X_j‖₂ over the row or
    column, in every member [Wanda]_; `flap` is Var(X_j) · ‖W_:j‖₂² on columns only, that is on `o_proj` and
    `down_proj` [FLAP]_. FLAP's bias compensation is left out: it would give linears a bias that their
    architecture lacks.

    Args:
        model: The model; its train or eval mode is restored.
        members: The linears to score.
        sequences: Token ids `(sequences, length)`.
        importance: `wanda` or `flap`.

    Returns:
        Module name → score per index along the member's axis; with `flap` only for members of axis 1.
    """
    used = [member for member in members if importance == "wanda" or member.axis == 1]
    moments = collect_moments(model, [member.name for member in used], sequences)
    scores = {}
    for member in used:
        weight = model.get_submodule(member.name).weight.detach().double()
        moment = moments[member.name]
        if importance == "flap":
            score = moment.variance * weight.square().sum(0)
        else:
            score = (weight.abs() * moment.norm).sum(1 - member.axis)
        scores[member.name] = score.cpu().numpy()
    return scores


def collect_moments(model: Any, names: Sequence[str], sequences: torch.Tensor) -> dict[str, InputMoments]:
    """Pass calibration text through a model and return the moments of the inputs of some linears, by name.

    Args:
        model: The model; its train or eval mode is restored.
        names: Full names of the linears.
        sequences: Token ids `(sequences, length)`.
    """
    moments = {name: InputMoments() for name in names}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _module, inputs, moment=moment: moment.add(inputs[0])
        )
        for name, moment in moments.items()
    ]
    training = model.training
    model.eval()
    try:
        device = model.get_submodule(names[0]).weight.device
        with torch.no_grad():
            for rows in torch.split(sequences.to(device), CHUNK_SEQUENCES):
                model(input_ids=rows, use_cache=False, logits_to_keep=1)  # the logits are not used
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return moments


class InputMoments:
    """Sums over tokens of an input and its square, in float64 so that the variance does not cancel."""

    def __init__(self) -> None:
        self.count = 0
        self.total: torch.Tensor | None = None
        self.squares: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor) -> None:
        """Add tokens, `(..., inputs)`."""
        tokens = inputs.detach().reshape(-1, inputs.shape[-1]).double()
        total, squares = tokens.sum(0), tokens.square().sum(0)
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += len(tokens)

    @property
    def norm(self) -> torch.Tensor:
        """‖X_j‖₂ of every input j, `(inputs,)`."""
        assert self.squares is not None
        return self.squares.sqrt()

    @property
    def variance(self) -> torch.Tensor:
        """Variance of every input, `(inputs,)`."""
        assert self.total is not None
        assert self.squares is not None
        mean = self.total / self.count
        return (self.squares / self.count - mean.square()).clamp_min(0)
