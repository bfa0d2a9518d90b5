"""The smallest of several sizes that is not worse than uniform, by bisection."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.choice import Choice
from experiments.compare.judgement import judge_pairs, recover_choices
from experiments.compare.prepared_setting import PreparedSetting
from experiments.jobs import FinalSection
from experiments.smaller.config import SmallerConfig
from rankadaptor.components.adapter import count_parameters
from rankadaptor.runtime import find_commit
from rankadaptor.verdict import Judgement

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

LOWEST_SHARE = 0.1
"""Smallest share of the budget that is tried."""
FIRST_SHARE = 0.6
MARGIN_SHARE = 0.02  # of the loss that uniform ranks win back, if no margin is given
CONFIRMED = 200  # the seeds that confirm start this far above those of the attempts


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One size, recovered in full beside uniform.

    Attributes:
        allocation: The recovered allocation.
        judged: Judgement of its paired gains.
        margin: Allowed loss of gain, nats per token.
        tokens: Tokens of its recoveries, without those of uniform.
    """

    allocation: Allocation
    judged: Judgement
    margin: float
    tokens: int

    @property
    def accepted(self) -> bool:
        """Whether the interval shows that it is not worse by more than the margin."""
        return is_not_worse(self.judged, margin=self.margin)

    def describe(self) -> dict[str, Any]:
        """Return the entry of a result file."""
        space = self.allocation.space
        return {
            "share": self.allocation.cost() / space.bounds[0],
            "parameters": count_parameters(space, self.allocation.values),
            "gain": self.judged.gain,
            "gain_low": self.judged.low,
            "gain_high": self.judged.high,
            "seeds": self.judged.count,
            "accepted": self.accepted,
            "values": list(self.allocation.values),
        }


def halve_sizes(
    prepared: PreparedSetting,
    config: SmallerConfig,
    method: str,
    ladder: Sequence[Allocation],
    *,
    cost: int,
    tuned: Choice | None = None,
) -> dict[str, Any]:
    """Find the smallest of several sizes that is not worse than uniform, and confirm it.

    Args:
        prepared: The setting.
        config: Number of sizes and seeds, and the margin.
        method: Key of the row.
        ladder: Allocations of all sizes.
        cost: Tokens that were spent to find the ladder.
        tuned: Initialisation and rate of the candidates; uniform keeps the setting's own.

    Returns:
        A row `setting, method, parameters, parameters_uniform, share, outcome, gain, gain_low, gain_high` and
        more. `share_found` is the share of the smallest size that passed on the seeds of the bisection,
        `share` that of the smallest that also passed on fresh seeds, 1 if none did. Gains belong to the
        latter, or to the first that failed. `cost_tokens` counts the ladder and the bisection.
    """
    space = prepared.space
    attempts = _halve(prepared, config, ladder, tuned=tuned)
    passed = [each.allocation for each in attempts if each.accepted]
    fresh = config.final.model_copy(update={"first_seed": config.final.first_seed + CONFIRMED})
    confirmed = confirm_sizes(
        prepared, passed or [space.reference()], fresh, margin=config.margin, tuned=tuned
    )
    held = [each for each in confirmed if each.accepted]
    shown = held[-1] if held else confirmed[0]
    kept = shown.allocation if held else space.reference()
    whole = count_parameters(space, space.reference().values)
    parameters = count_parameters(space, kept.values)
    found = min([count_parameters(space, each.values) for each in passed], default=whole)
    return {
        "setting": prepared.config.name,
        "method": method,
        "parameters": parameters,
        "parameters_uniform": whole,
        "share": parameters / whole,
        "share_found": found / whole,
        "outcome": shown.judged.outcome,
        "not_worse": bool(held),
        "gain": shown.judged.gain,
        "gain_low": shown.judged.low,
        "gain_high": shown.judged.high,
        "seeds": shown.judged.count,
        "margin": shown.margin,
        "trials": config.trials,
        "steps": prepared.source.recipe.steps,
        "cost_tokens": cost + sum(each.tokens for each in attempts),
        "values": list(kept.values),
        "attempts": [each.describe() for each in attempts],
        "confirmed": [each.describe() for each in confirmed] if passed else [],
        "commit": find_commit(),
    }


def confirm_sizes(
    prepared: PreparedSetting,
    passed: Sequence[Allocation],
    fresh: FinalSection,
    *,
    margin: float | None,
    tuned: Choice | None = None,
) -> list[Attempt]:
    """Recover the passing sizes on fresh seeds, from the largest down, until one fails.

    With an order fixed beforehand and an end at the first failure, the probability of any false pass is that
    of a single test, for any number of sizes [Maurer]_.
    """
    confirmed = []
    for candidate in sorted(passed, key=lambda each: -each.cost()):
        confirmed.append(_attempt(prepared, candidate, fresh, margin=margin, tuned=tuned))
        if not confirmed[-1].accepted:
            break
    return confirmed


def is_not_worse(judged: Judgement, *, margin: float) -> bool:
    """Tell whether paired gains show that an allocation is worse by no more than a margin.

    The whole interval must lie above minus the margin. Accepting every "no difference" would pass more sizes
    the noisier the runs are.
    """
    return judged.low is not None and not judged.reason and judged.low >= -margin


def _halve(
    prepared: PreparedSetting, config: SmallerConfig, ladder: Sequence[Allocation], *, tuned: Choice | None
) -> list[Attempt]:
    space, attempts = prepared.space, []
    low, high, share = LOWEST_SHARE, 1.0, FIRST_SHARE
    for _ in range(config.attempts):
        candidate = max(
            (each for each in ladder if each.cost() <= share * space.bounds[0]),
            key=lambda each: each.cost(),
            default=None,
        )
        if candidate is None or candidate.cost() <= low * space.bounds[0]:
            low = share
        else:
            attempt = _attempt(prepared, candidate, config.final, margin=config.margin, tuned=tuned)
            attempts.append(attempt)
            if attempt.accepted:
                high = candidate.cost() / space.bounds[0]
            else:
                low = share
        share = (low + high) / 2
    return attempts


def _attempt(
    prepared: PreparedSetting,
    allocation: Allocation,
    final: FinalSection,
    *,
    margin: float | None,
    tuned: Choice | None,
) -> Attempt:
    """Recover an allocation, with tuned initialisation and rate if given, and uniform on the same seeds."""
    choice = dataclasses.replace(tuned or Choice(()), values=allocation.values)
    records: dict[str, list[Record]] = recover_choices(prepared, {"candidate": choice}, final)
    judged = judge_pairs(records["candidate"], records["uniform"], confidence=final.confidence)[1]
    losses = [record.loss for record in records["uniform"] if record.loss is not None]
    regained = prepared.losses["pruned"] - float(np.mean(losses)) if losses else 0.0
    margin = margin if margin is not None else MARGIN_SHARE * max(regained, 0.0)
    return Attempt(allocation, judged, margin, sum(record.tokens for record in records["candidate"]))
