"""The smallest of a ladder of sizes that is not worse than uniform, by halving the interval of sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.arena import Arena
from experiments.compare.choice import Choice
from experiments.compare.judgement import judge_pairs, recover_choices
from experiments.jobs import FinalSection
from experiments.smaller.config import SmallerConfig
from rankadaptor.components.adapter import count_parameters
from rankadaptor.runtime import find_commit
from rankadaptor.verdict import Judgement

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

LOWEST_SHARE = 0.1
"""Share of the budget below which an adapter is not worth a fine-tune."""
FIRST_SHARE = 0.6
MARGIN_SHARE = 0.02  # of what uniform wins back, where no margin is given
CONFIRMED = 200  # the seeds that confirm start this far above those of the attempts


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One size, recovered in full beside uniform.

    Attributes:
        allocation: What was recovered.
        judged: Its paired gains, judged.
        margin: How much worse it may be, nats per token.
        tokens: What its recoveries were trained on; uniform's are not counted.
    """

    allocation: Allocation
    judged: Judgement
    margin: float
    tokens: int

    @property
    def accepted(self) -> bool:
        """Whether it is shown not to be worse."""
        return is_not_worse(self.judged, margin=self.margin)

    def describe(self) -> dict[str, Any]:
        """Return what a result file says of it."""
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
    arena: Arena,
    config: SmallerConfig,
    method: str,
    ladder: Sequence[Allocation],
    *,
    cost: int,
    begun: Choice | None = None,
) -> dict[str, Any]:
    """Find the smallest of a ladder of sizes that is not worse than uniform, and confirm it.

    Args:
        arena: The setting.
        config: How many sizes are tried, on how many seeds, and the margin.
        method: Name of the row.
        ladder: Allocations of all sizes.
        cost: Tokens that were spent on the ladder.
        begun: Start and rate that the candidates are recovered under; uniform keeps the setting's own.

    Returns:
        A row `setting, method, parameters, parameters_uniform, share, outcome, gain, gain_low, gain_high` and
        more. `share_found` is of the smallest that passed on the seeds of the attempts, `share` of the
        smallest that also held on fresh ones, 1 if none did. Gains are of what held, else of what failed.
        `cost_tokens` counts the ladder and the attempts.
    """
    space = arena.space
    attempts = _halve(arena, config, ladder, begun=begun)
    passed = [each.allocation for each in attempts if each.accepted]
    fresh = config.final.model_copy(update={"first_seed": config.final.first_seed + CONFIRMED})
    confirmed = confirm_sizes(arena, passed or [space.reference()], fresh, margin=config.margin, begun=begun)
    held = [each for each in confirmed if each.accepted]
    shown = held[-1] if held else confirmed[0]
    kept = shown.allocation if held else space.reference()
    whole = count_parameters(space, space.reference().values)
    parameters = count_parameters(space, kept.values)
    found = min([count_parameters(space, each.values) for each in passed], default=whole)
    return {
        "setting": arena.config.name,
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
        "steps": arena.source.recipe.steps,
        "cost_tokens": cost + sum(each.tokens for each in attempts),
        "values": list(kept.values),
        "attempts": [each.describe() for each in attempts],
        "confirmed": [each.describe() for each in confirmed] if passed else [],
        "commit": find_commit(),
    }


def confirm_sizes(
    arena: Arena,
    passed: Sequence[Allocation],
    fresh: FinalSection,
    *,
    margin: float | None,
    begun: Choice | None = None,
) -> list[Attempt]:
    """Recover what passed on fresh seeds, from the largest down, until one is not shown to hold.

    In an order that is fixed beforehand, and ending at the first failure, the chance that anything worse is
    let through stays that of one test, however many sizes there are [Maurer]_.
    """
    confirmed = []
    for candidate in sorted(passed, key=lambda each: -each.cost()):
        confirmed.append(_attempt(arena, candidate, fresh, margin=margin, begun=begun))
        if not confirmed[-1].accepted:
            break
    return confirmed


def is_not_worse(judged: Judgement, *, margin: float) -> bool:
    """Tell whether paired gains establish that an allocation is worse by no more than a margin.

    That no difference was found would not do: the noisier the runs, the more would pass.
    """
    return judged.low is not None and not judged.reason and judged.low >= -margin


def _halve(
    arena: Arena, config: SmallerConfig, ladder: Sequence[Allocation], *, begun: Choice | None
) -> list[Attempt]:
    space, attempts = arena.space, []
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
            attempt = _attempt(arena, candidate, config.final, margin=config.margin, begun=begun)
            attempts.append(attempt)
            if attempt.accepted:
                high = candidate.cost() / space.bounds[0]
            else:
                low = share
        share = (low + high) / 2
    return attempts


def _attempt(
    arena: Arena,
    allocation: Allocation,
    final: FinalSection,
    *,
    margin: float | None,
    begun: Choice | None,
) -> Attempt:
    """Recover an allocation, under a start and rate that may be its own, and uniform on the same seeds."""
    choice = dataclasses.replace(begun or Choice(()), values=allocation.values)
    records: dict[str, list[Record]] = recover_choices(arena, {"candidate": choice}, final)
    judged = judge_pairs(records["candidate"], records["uniform"], confidence=final.confidence)[1]
    losses = [record.loss for record in records["uniform"] if record.loss is not None]
    regained = arena.losses["pruned"] - float(np.mean(losses)) if losses else 0.0
    margin = margin if margin is not None else MARGIN_SHARE * max(regained, 0.0)
    return Attempt(allocation, judged, margin, sum(record.tokens for record in records["candidate"]))
