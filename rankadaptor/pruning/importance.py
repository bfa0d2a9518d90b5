"""Importance of every coupled group, from weights, gradients or activations, or random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.model.finiteness import refuse_nonfinite_scores
from rankadaptor.pruning.activations import ACTIVATION, score_activations
from rankadaptor.pruning.aggregation import Array, aggregate_scores
from rankadaptor.pruning.gradients import TAYLOR, score_taylor

if TYPE_CHECKING:
    import torch

    from rankadaptor.pruning.groups import CoupledGroups, Member

MAGNITUDE = ("l1", "l2")
IMPORTANCES = (*TAYLOR, *MAGNITUDE, *ACTIVATION, "random")


def needs_calibration(importance: str) -> bool:
    """Tell whether an importance needs calibration text.

    Raises:
        InputError: If the name is unknown.
    """
    if importance not in IMPORTANCES:
        raise InputError(f"importance={importance!r}: allowed are {', '.join(IMPORTANCES)}.")
    return importance in (*TAYLOR, *ACTIVATION)


def score_groups(
    model: Any,
    groups: Sequence[CoupledGroups],
    *,
    importance: str = "param_first",
    aggregation: str = "sum",
    sequences: torch.Tensor | None = None,
    seed: int = 0,
) -> list[Array]:
    """Score all groups; groups with low scores are removed first.

    `l1` sums |W| and `l2` sums W² over a row or column; `random` draws from [0, 1); see `score_taylor` and
    `score_activations` for the others. All scores are at least zero.

    Args:
        model: A supported causal language model.
        groups: What `find_groups` returned for it.
        importance: One of `IMPORTANCES`.
        aggregation: How members of a group combine; see `aggregate_scores`.
        sequences: Calibration token ids `(sequences, length)`, for importances that need them.
        seed: Seed of `random`.

    Returns:
        One array `(count,)` per entry of `groups`.

    Raises:
        InputError: If a name is unknown, calibration is missing, or all scores of a target are zero.
        NonFiniteError: If a score is NaN or infinite; the message names its tensor or module.
    """
    needed = needs_calibration(importance)
    if importance == "random":
        generator = np.random.default_rng(seed)
        return [generator.random(entry.count) for entry in groups]
    members = [member for entry in groups for member in entry.members]
    if not needed:
        vectors = _score_magnitudes(model, members, importance)
    elif sequences is None:
        raise InputError(
            f"importance={importance!r} needs text, but calibration is None. Give calibration=texts, a "
            f"file or 'kit:c4', or choose one of {(*MAGNITUDE, 'random')}."
        )
    elif importance in TAYLOR:
        vectors = score_taylor(model, members, sequences, importance=importance)
    else:
        vectors = score_activations(model, members, sequences, importance=importance)
    refuse_nonfinite_scores(vectors, importance=importance, model=model, tokens=sequences if needed else None)
    scores = [aggregate_scores(entry, vectors, aggregation=aggregation) for entry in groups]
    _check_aggregated(groups, scores, importance=importance, aggregation=aggregation)
    return scores


def _check_aggregated(
    groups: Sequence[CoupledGroups], scores: Sequence[Array], *, importance: str, aggregation: str
) -> None:
    """Refuse scores that overflowed when they were combined, and scores that are all zero."""
    for entry, score in zip(groups, scores, strict=True):
        if not np.isfinite(score).all():
            raise NonFiniteError(
                f"aggregation={aggregation!r}: the scores of the {entry.target} of block {entry.block} are "
                f"finite, but their combination is not. Choose aggregation='sum', or another importance than "
                f"{importance!r}."
            )
    for target in {entry.target for entry in groups}:
        if not any(
            score.any() for entry, score in zip(groups, scores, strict=True) if entry.target == target
        ):
            raise InputError(
                f"importance={importance!r}, aggregation={aggregation!r}: all scores of all {target} are 0, "
                "so nothing can be ranked. Check the weights and the calibration text, or choose another "
                "importance: 'l2' uses the weights only, 'random' uses neither."
            )


def _score_magnitudes(model: Any, members: Sequence[Member], importance: str) -> dict[str, Array]:
    scores = {}
    for member in members:
        weight = model.get_submodule(member.name).weight.detach().double()
        size = weight.abs() if importance == "l1" else weight.square()
        scores[member.name] = size.sum(1 - member.axis).cpu().numpy()
    return scores
