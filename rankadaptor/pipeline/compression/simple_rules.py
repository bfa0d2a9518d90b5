"""Simple rules that choose widths or depth under the limits, with one type everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.depth import DROPPED
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.model.families import ATTENTION, MLP
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.shared_importance import compute_importance
from rankadaptor.search.alternatives import allow_part
from rankadaptor.search.exact import solve_exact
from rankadaptor.space import Slot, Space

GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, are spread evenly however many there are."""
STEPS = 64
"""Shares of the widths that `uniform` tries between nothing and all."""


@dataclass(frozen=True)
class OneType:
    """The allocations of a space that have one type everywhere.

    Attributes:
        space: The space.
        kind: The type.
        options: For each slot width → option, the narrowest first; 0 is a dropped half. A slot without widths
            has the one width 1.
        whole: The choices of the dense model in this type.
    """

    space: Space
    kind: str
    options: tuple[Mapping[int, int], ...]
    whole: tuple[int, ...]

    @classmethod
    def of_space(cls, space: Space, kind: str) -> OneType:
        """Find them.

        Raises:
            InputError: If a slot cannot have the type.
        """
        found = []
        for slot in space.slots:
            own = {_read_width(label): place for place, label in enumerate(slot.options) if _has(label, kind)}
            if not own and slot.pinned is None:
                raise InputError(f"{slot.name} has no option of the type {kind}.")
            found.append(dict(sorted((own or {1: slot.pinned or 0}).items())))
        return cls(space, kind, tuple(found), tuple(each[max(each)] for each in found))

    def keeps_limits(self, choices: Sequence[int]) -> bool:
        """Tell whether choices keep all limits of the space."""
        return all(
            self.space.sum_costs([choices], each.resource)[0] <= each.bound for each in self.space.limits
        )


Choose = Callable[[OneType], tuple[int, ...]]


def choose_share(given: OneType) -> tuple[int, ...]:
    """Keep the same share of all MLP channels, and of all KV groups where that alone is not enough.

    Raises:
        BudgetError: If none does.
    """
    for kinds in ({MLP}, {MLP, ATTENTION}):
        for step in range(STEPS, 0, -1):
            choices = tuple(
                options[_take_share(options, step / STEPS)] if slot.kind in kinds else whole
                for slot, options, whole in zip(given.space.slots, given.options, given.whole, strict=True)
            )
            if given.keeps_limits(choices):
                return _fill_evenly(given, choices)
    raise BudgetError("no uniform share of the widths keeps the limits.")


def _take_share(options: Mapping[int, int], share: float) -> int:
    """Return the largest width within a share of the whole one, at least the narrowest."""
    widths = [width for width in options if width > 0]
    return max((width for width in widths if width <= share * max(widths)), default=min(widths))


def _fill_evenly(given: OneType, choices: tuple[int, ...]) -> tuple[int, ...]:
    """Widen MLPs by one step each, spread evenly over depth, as far as the limits allow."""
    places = [index for index, slot in enumerate(given.space.slots) if slot.kind == MLP]
    filled = list(choices)
    for turn in np.argsort(np.arange(len(places)) * GOLDEN % 1.0, kind="stable").tolist():
        index = places[turn]
        ordered = list(given.options[index].values())
        widened = [*filled]
        widened[index] = ordered[min(ordered.index(filled[index]) + 1, len(ordered) - 1)]
        if given.keeps_limits(widened):
            filled = widened
    return tuple(filled)


def rank_by_scores(setting: Setting, *, importance: str, standardise: bool) -> Choose:
    """Keep the channels and KV groups of most importance over all blocks together."""
    scores = setting.live.scores
    if importance != setting.config.choices.importance:
        scores = compute_importance(setting, importance)
    names = [half.name for half in setting.live.halves]
    given = [_standardise(score) if standardise else score for score in scores]
    return functools.partial(choose_by_scores, scores=dict(zip(names, given, strict=True)))


def choose_by_scores(given: OneType, *, scores: Mapping[str, NDArray[np.float64]]) -> tuple[int, ...]:
    """Return the choices that keep the largest sum of scores inside the limits.

    Args:
        given: The allocations.
        scores: Scores of the channels or KV groups of a slot, by its name.

    Raises:
        BudgetError: If nothing keeps the limits.
    """
    rows = []
    for slot in given.space.slots:
        ordered = np.sort(scores.get(slot.name, np.zeros(0)))[::-1]
        rows.append([-float(ordered[_read_width(label) :].sum()) for label in slot.options])
    allowed = allow_part(given.space, given.kind, also=(DROPPED[1],))
    return solve_exact(given.space, SlotValues.of_scores(given.space, rows), allowed=allowed)


def _standardise(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z-scores above their smallest: FLAP compares blocks by them."""
    spread = scores.std() or 1.0
    standard: NDArray[np.float64] = (scores - scores.mean()) / spread
    positive: NDArray[np.float64] = standard - standard.min()
    return positive


def rank_blocks(setting: Setting) -> Choose:
    """Drop whole blocks, the least influence on the hidden states first, until the limits are kept."""
    from rankadaptor.pruning.influence import measure_influence

    influence = measure_influence(setting.model, setting.make_calibration())
    return functools.partial(choose_blocks, order=np.argsort(influence, kind="stable").tolist())


def choose_blocks(given: OneType, *, order: Sequence[int]) -> tuple[int, ...]:
    """Drop blocks in an order until the limits are kept, all but the last one at most.

    Raises:
        InputError: If a half cannot be dropped.
        BudgetError: If one block alone does not keep the limits.
    """
    choices = list(given.whole)
    for block in [None, *order[:-1]]:
        for index, slot in enumerate(given.space.slots):
            if slot.block == block and slot.kind in (MLP, ATTENTION):
                choices[index] = _find_dropped(slot, given.options[index])
        if given.keeps_limits(choices):
            return tuple(choices)
    raise BudgetError("dropping all blocks but one does not keep the limits.")


def _find_dropped(slot: Slot, options: Mapping[int, int]) -> int:
    if 0 not in options:
        raise InputError(f"{slot.name} cannot be dropped: choices.depth is false.")
    return options[0]


RULES: Mapping[str, Callable[[Setting], Choose]] = {
    "uniform": lambda _: choose_share,
    "taylor": functools.partial(rank_by_scores, importance="param_first", standardise=False),
    "flap": functools.partial(rank_by_scores, importance="flap", standardise=True),
    "block_influence": rank_blocks,
}
"""What a run file's `references` may name: it measures once and then chooses for one type after the other."""


def _has(label: Any, kind: str) -> bool:
    return label == DROPPED or kind in (label if isinstance(label, tuple) else (label,))


def _read_width(label: Any) -> int:
    return int(label[0]) if isinstance(label, tuple) else 1
