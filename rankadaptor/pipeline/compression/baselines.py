"""Configurations of other rules at the same limits.

Simple rules choose widths and have one type everywhere; others take optima of the sweep without refinement.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from rankadaptor.corpus.record import KL
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.simple_rules import RULES, OneType
from rankadaptor.pipeline.compression.swept_rules import list_widths_first
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

BASELINE, SEQUENTIAL, OPTIMUM = "baseline", "sequential", "optimum"


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
    choose = RULES[name](setting)
    found: dict[tuple[int, ...], str] = {}
    for kind in setting.config.choices.types:
        try:
            found[choose(OneType.of_space(setting.space, kind))] = kind
        except (BudgetError, InputError) as error:
            logger.info("%s with %s: %s", name, kind, error)
    return found


def _find_best(
    setting: Setting, name: str, kind: str, found: Mapping[tuple[int, ...], str]
) -> tuple[float, Candidate] | None:
    """Return the divergence and the configuration of a rule with the type that serves it best."""
    if not found:
        logger.warning("%s reaches the limits with none of the types", name)
        return None
    allocations = [Allocation(choices, setting.space) for choices in found]
    records = setting.score.measure(allocations, tokens=setting.count_screened())
    scored = [(record.metrics.get(KL, math.inf), record) for record in records]
    divergence, best = min(scored, key=lambda entry: entry[0])
    choices = setting.space.find_choices(best.values)
    called = f"{name} {found[choices]}".rstrip()
    logger.info("%s is the best of %d of its kind (KL %.4f)", called, len(found), divergence)
    return float(divergence), Candidate(called, kind, choices)
