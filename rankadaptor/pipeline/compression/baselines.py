"""Configurations of other rules at the same limits.

Simple rules choose widths and have one type everywhere; others take optima of the sweep without refinement.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.model.families import ATTENTION, MLP
from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.setting import Setting, build_space_of
from rankadaptor.pipeline.compression.swept_rules import list_widths_first
from rankadaptor.search.exact import solve_exact
from rankadaptor.space import Allocation, Slot, Space

logger = logging.getLogger(__name__)

BASELINE, SEQUENTIAL, OPTIMUM = "baseline", "sequential", "optimum"
Rule = Callable[[Setting, Space], tuple[int, ...]]
GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, are spread evenly however many there are."""
STEPS = 64
"""Shares of the widths that `uniform` tries between nothing and all."""


def list_baselines(
    setting: Setting, *, values: SlotValues, optimum: tuple[int, ...] | None = None
) -> list[Candidate]:
    """Return the baselines that the run asks for, each with its best type, the best of them first.

    The type is chosen by the score of the search, on a few tokens.

    Args:
        setting: The run's inputs.
        values: Slot values of the sweep, for `sequential`.
        optimum: The exact optimum of their sum, for `optimum`.
    """
    found: list[tuple[float, Candidate] | None] = []
    for name in setting.config.references:
        if name in RULES:
            found.append(_find_best(setting, name, BASELINE, _try_types(setting, name)))
        elif name == SEQUENTIAL:
            kinds = setting.config.choices.types
            chosen = {choices: kind for kind, choices in list_widths_first(setting.space, values, kinds)}
            found.append(_find_best(setting, name, SEQUENTIAL, chosen))
        elif name == OPTIMUM and optimum is not None:
            found.append(_find_best(setting, name, BASELINE, {optimum: ""}))
    ranked = sorted((entry for entry in found if entry is not None), key=lambda entry: entry[0])
    return [candidate for _, candidate in ranked]


def _try_types(setting: Setting, name: str) -> dict[tuple[int, ...], str]:
    """Return what a rule chooses with each type everywhere, and the type."""
    found: dict[tuple[int, ...], str] = {}
    for kind, space in _list_single_types(setting):
        try:
            choices = RULES[name](setting, space)
        except (BudgetError, InputError) as error:
            logger.info("%s with %s: %s", name, kind, error)
            continue
        labels = Allocation(choices, space).values
        found[setting.space.find_choices(labels)] = kind
    return found


def _find_best(
    setting: Setting, name: str, kind: str, found: Mapping[tuple[int, ...], str]
) -> tuple[float, Candidate] | None:
    """Return the divergence and the configuration of a rule with the type that serves it best."""
    if not found:
        logger.warning("%s reaches the limits with none of the types", name)
        return None
    allocations = [Allocation(choices, setting.space) for choices in found]
    records = setting.score.measure(allocations, tokens=_count_screen(setting))
    scored = [(record.metrics.get("kl", np.inf), record) for record in records]
    divergence, best = min(scored, key=lambda entry: entry[0])
    choices = setting.space.find_choices(best.values)
    called = f"{name} {found[choices]}".rstrip()
    logger.info("%s is the best of %d of its kind (KL %.4f)", called, len(found), divergence)
    return float(divergence), Candidate(called, kind, choices)


def _count_screen(setting: Setting) -> int:
    return setting.config.search.screen_sequences * setting.config.data.length


def _list_single_types(setting: Setting) -> Iterator[tuple[str, Space]]:
    """Yield each type and the space in which it is the only one."""
    config = setting.config
    for kind in config.choices.types:
        if kind not in config.choices.embedding:
            continue
        choices = config.choices.model_copy(update={"types": (kind,), "embedding": (kind,)})
        try:
            space = build_space_of(
                config.model_copy(update={"choices": choices}),
                setting.model,
                setting.tokenizer,
                latency_model=setting.latency_model,
            )
        except InputError as error:  # also where no allocation keeps the limits
            logger.info("one type everywhere, %s: %s", kind, error)
            continue
        if all(_offers(setting.space, slot) for slot in space.slots):
            yield kind, space


def _offers(space: Space, slot: Slot) -> bool:
    whole = next(each for each in space.slots if each.name == slot.name)
    return set(slot.options) <= set(whole.options)


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────


def keep_share(_: Setting, space: Space) -> tuple[int, ...]:
    """Keep the same share of all MLP channels, and of all KV groups where that alone is not enough."""
    for kinds in ({MLP}, {MLP, ATTENTION}):
        for step in range(STEPS, 0, -1):
            choices = tuple(
                _take_share(slot, step / STEPS) if slot.kind in kinds else origin
                for slot, origin in zip(space.slots, space.origin, strict=True)
            )
            if _is_inside(space, choices):
                return _fill_evenly(space, choices)
    raise BudgetError("no uniform share of the widths keeps the limits.")


def _fill_evenly(space: Space, choices: tuple[int, ...]) -> tuple[int, ...]:
    """Widen MLPs by one step each, spread evenly over depth, as far as the limits allow."""
    places = [index for index, slot in enumerate(space.slots) if slot.kind == MLP]
    filled = list(choices)
    for turn in np.argsort(np.arange(len(places)) * GOLDEN % 1.0, kind="stable").tolist():
        index = places[turn]
        widened = [*filled]
        widened[index] = min(filled[index] + 1, len(space.slots[index].options) - 1)
        if _is_inside(space, widened):
            filled = widened
    return tuple(filled)


def _take_share(slot: Slot, share: float) -> int:
    """Return the option of the largest width within a share of the whole one, at least the narrowest."""
    widths = [_read_width(label) for label in slot.options]
    within = [index for index, width in enumerate(widths) if 0 < width <= share * max(widths)]
    narrowest = [index for index, width in enumerate(widths) if width > 0][:1]
    return max(within, key=lambda index: widths[index]) if within else narrowest[0]


def keep_by_scores(setting: Setting, space: Space, *, importance: str, standardise: bool) -> tuple[int, ...]:
    """Keep the channels and KV groups of most importance over all blocks together."""
    scores = _score(setting, importance)
    rows = []
    for slot in space.slots:
        score = scores.get(slot.name)
        if score is None:
            rows.append([0.0] * len(slot.options))
            continue
        ordered = np.sort(_standardise(score) if standardise else score)[::-1]
        rows.append([-float(ordered[_read_width(label) :].sum()) for label in slot.options])
    return solve_exact(space, SlotValues.of_scores(space, rows))


def _score(setting: Setting, importance: str) -> Mapping[str, NDArray[np.float64]]:
    names = [half.name for half in setting.live.halves]
    if importance == setting.config.choices.importance:
        return dict(zip(names, setting.live.scores, strict=True))
    return dict(zip(names, _score_groups(setting, importance), strict=True))


def _score_groups(setting: Setting, importance: str) -> Sequence[NDArray[np.float64]]:
    from rankadaptor.pruning.groups import find_groups
    from rankadaptor.pruning.importance import score_groups

    return score_groups(
        setting.model,
        find_groups(setting.model),
        importance=importance,
        sequences=setting.make_calibration(),
        seed=setting.config.seed,
    )


def _standardise(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z-scores above their smallest: FLAP compares blocks by them."""
    spread = scores.std() or 1.0
    standard: NDArray[np.float64] = (scores - scores.mean()) / spread
    positive: NDArray[np.float64] = standard - standard.min()
    return positive


def drop_blocks(setting: Setting, space: Space) -> tuple[int, ...]:
    """Drop whole blocks, the least influence on the hidden states first, until the limits are kept."""
    from rankadaptor.pruning.influence import measure_influence

    influence = measure_influence(setting.model, setting.make_calibration())
    choices = list(space.origin)
    for block in np.argsort(influence, kind="stable").tolist()[:-1]:
        if _is_inside(space, choices):
            return tuple(choices)
        for index, slot in enumerate(space.slots):
            if slot.block == block and slot.kind in (MLP, ATTENTION):
                choices[index] = next(
                    place for place, label in enumerate(slot.options) if _read_width(label) == 0
                )
    if _is_inside(space, choices):
        return tuple(choices)
    raise BudgetError("dropping all blocks but one does not keep the limits.")


RULES: Mapping[str, Rule] = {
    "uniform": keep_share,
    "taylor": functools.partial(keep_by_scores, importance="param_first", standardise=False),
    "flap": functools.partial(keep_by_scores, importance="flap", standardise=True),
    "block_influence": drop_blocks,
}
"""What a run file's `references` may name, and how it chooses widths in a space of one type."""


def _read_width(label: Any) -> int:
    return int(label[0]) if isinstance(label, tuple) else 0


def _is_inside(space: Space, choices: Sequence[int]) -> bool:
    allocation = Allocation(tuple(choices), space)
    return all(allocation.cost(limit.resource) <= limit.bound for limit in space.limits)
