"""Masks of unstructured sparsity: which weights of a linear are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rankadaptor.errors import InputError
from rankadaptor.model.families import describe_linears
from rankadaptor.model.quantisation import refuse_quantised
from rankadaptor.pruning.activations import collect_moments

Masks = dict[str, torch.Tensor]
"""Name of a linear → what is kept of its weight, `(out, in)`, boolean."""


def choose_masks(model: Any, share: float, *, sequences: torch.Tensor | None = None) -> Masks:
    """Choose the weights that stay: in every row of every linear the largest scores.

    The score of a weight is |W_ij| · ‖X_j‖₂ with X_j its input over the calibration text [Wanda]_, or |W_ij|
    without text. Every row loses the same number of weights, the share rounded down.

    Args:
        model: A supported causal language model; its blocks' linears are masked, embedding and output head
            are not.
        share: Share of the weights that become zero, from 0 to below 1.
        sequences: Calibration token ids `(sequences, length)`.

    Raises:
        InputError: If the share is not one, or the model is quantised or not supported.
    """
    if not 0 <= share < 1:
        raise InputError(f"sparsity {share}: give a share from 0 to below 1, for example 0.5.")
    refuse_quantised(model, verb="made sparse")
    names = [linear.name for linear in describe_linears(model)]
    moments = None if sequences is None else collect_moments(model, names, sequences)
    masks = {}
    for name in names:
        score = model.get_submodule(name).weight.detach().abs().double()
        if moments is not None:
            score *= moments[name].norm
        order = score.argsort(dim=1, stable=True)
        mask = torch.ones_like(score, dtype=torch.bool)
        masks[name] = mask.scatter_(1, order[:, : int(share * score.shape[1])], False)
    return masks


def apply_masks(model: Any, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the weights that are not kept to zero, in place."""
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_submodule(name).weight.mul_(mask)


def find_masks(model: Any) -> Masks:
    """Return the masks that a sparse model's weights show: what is not zero is kept.

    A LoRA adapter on the model is not looked at.
    """
    found = {}
    for linear in describe_linears(model):
        module = model.get_submodule(linear.name)
        found[linear.name] = getattr(module, "base_layer", module).weight.detach() != 0
    return found


def measure_sparsity(model: Any) -> float:
    """Return the share of zeros among the weights of the blocks' linears."""
    masks = find_masks(model).values()
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
