"""Limits as people write them, `60 MB`, `80%`, `0.7x` or a number, made into bounds on resources."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rankadaptor.components.composition.costs import BYTES, GENERATE, PARAMETERS, PROMPT
from rankadaptor.config.limits import read_parameters, read_share, read_size
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Limit, Slot
from rankadaptor.space.integer_program import solve_binary

LATENCY = "latency"


def read_limits(
    limits: Mapping[str, str | float] | None,
    slots: Sequence[Slot],
    origin: Sequence[int],
    *,
    missing: Mapping[str, str] | None = None,
) -> tuple[Limit, ...]:
    """Return the limits of a space, checked to be reachable each for itself and all together.

    Args:
        limits: Resource → bound. `latency` is a share of the dense model's time per token, of prompts and of
            generation alike.
        slots: Slots with their costs.
        origin: Choices of the dense reference, which shares refer to.
        missing: Resources that cannot be counted here, and why.

    Raises:
        InputError: If a resource is unknown or a bound cannot be read.
        BudgetError: If a bound cannot be reached; the message names the nearest that can.
    """
    known = list(dict.fromkeys(name for slot in slots for name in slot.resources))
    found: list[Limit] = []
    for name, bound in (limits or {}).items():
        names = [PROMPT, GENERATE] if name == LATENCY else [name]
        if not set(names) <= set(known):
            advice = (missing or {}).get(name, "Choose one of them.")
            if set(names) & {PROMPT, GENERATE}:
                advice = "Give a latency_model to limit the latency."
            raise InputError(f"limit on {name!r}: this space counts {', '.join(known)}. {advice}")
        for each in names:
            dense = sum(slot.costs_in(each)[choice] for slot, choice in zip(slots, origin, strict=True))
            found.append(Limit(each, read_bound(bound, each, dense=dense)))
    for limit in found:
        costs = [slot.costs_in(limit.resource)[choice] for slot, choice in zip(slots, origin, strict=True)]
        _check_alone(limit, slots, dense=sum(costs))
    _check_together(found, slots)
    return tuple(found)


def read_bound(bound: str | float, resource: str, *, dense: int) -> int:
    """Return a bound as a whole number.

    Raises:
        InputError: If it cannot be read or is not above 0.
    """
    try:
        if isinstance(bound, str) and bound.strip().endswith(("%", "x", "×")):
            return read_share(bound, example="'80%' or '0.8x'").count(dense)
        if resource == PARAMETERS and isinstance(bound, str):
            found = read_parameters(bound)
            return found if isinstance(found, int) else found.count(dense)
        if resource == BYTES and isinstance(bound, str):
            return read_size(bound)
        if not isinstance(bound, bool) and float(bound) >= 1:
            return int(float(bound))
    except ValueError as error:  # InputError is one
        reason = f": {error}" if isinstance(error, InputError) else ""
        raise InputError(_explain_bound(bound, resource, dense) + reason) from error
    raise InputError(_explain_bound(bound, resource, dense))


def _explain_bound(bound: object, resource: str, dense: int) -> str:
    example = {BYTES: "'60 MB', ", PARAMETERS: "'100M', "}.get(resource, "")
    return (
        f"limit on {resource}: {bound!r} cannot be read. Give {example}a share of the dense model such as "
        f"'80%' or '0.8x', or a whole number of at least 1 (the dense model has {dense:,})"
    )


def _check_alone(limit: Limit, slots: Sequence[Slot], *, dense: int) -> None:
    least = {slot.name: min(_list_open(slot, limit.resource)) for slot in slots}
    needed = sum(least.values())
    if needed <= limit.bound:
        return
    held = sum(least.get(name, 0) for name in ("embedding", "output", "fixed"))
    why = "the smallest choice everywhere needs that much"
    if held > limit.bound:
        why = f"the embedding and what is fixed alone need {held:,}"
    raise BudgetError(
        f"limit of {limit.bound:,} on {limit.name} ({limit.bound / dense:.3f}x): no "
        f"allocation keeps it, {why}. The nearest possible limit is {needed:,} "
        f"({math.ceil(1000 * needed / dense) / 1000:.3f}x). Raise it, or allow smaller types, widths or "
        "dropped blocks."
    )


def _list_open(slot: Slot, resource: str) -> tuple[int, ...]:
    costs = slot.costs_in(resource)
    return costs if slot.pinned is None else (costs[slot.pinned],)


def _check_together(limits: Sequence[Limit], slots: Sequence[Slot]) -> None:
    """Refuse limits that exclude each other, naming for each one the nearest bound that the others allow."""
    if len(limits) < 2 or _find_least(None, limits, slots) is not None:
        return
    nearest = []
    for limit in limits:
        least = _find_least(limit, [other for other in limits if other is not limit], slots)
        if least is not None:
            nearest.append(f"{limit.name} {least:,} instead of {limit.bound:,}")
    raise BudgetError(
        "limits "
        + ", ".join(f"{limit.name} {limit.bound:,}" for limit in limits)
        + ": each can be kept, but not all at once. The nearest possible one, with the others as given: "
        + (" or ".join(nearest) if nearest else "none; raise two of them")
        + "."
    )


def _find_least(wanted: Limit | None, limits: Sequence[Limit], slots: Sequence[Slot]) -> int | None:
    """Return the least total of a resource inside limits; None if there is no allocation inside them."""
    from scipy.optimize import LinearConstraint

    choices = [range(len(slot.options)) if slot.pinned is None else (slot.pinned,) for slot in slots]
    owner = np.repeat(np.arange(len(slots)), [len(each) for each in choices])
    one_each = (owner[None, :] == np.arange(len(slots))[:, None]).astype(np.float64)

    def gather(resource: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        costs = [slot.costs_in(resource)[i] for slot, each in zip(slots, choices, strict=True) for i in each]
        return np.asarray(costs, dtype=np.float64)

    goal = gather(wanted.resource) if wanted is not None else np.zeros(len(owner))
    constraints = [LinearConstraint(one_each, 1.0, 1.0)]
    constraints += [LinearConstraint(gather(limit.resource), -np.inf, limit.bound) for limit in limits]
    scale = max(float(goal.max()), 1.0)
    found = solve_binary(goal / scale, constraints)
    if found.x is None:
        return None
    return int(np.rint(found.x) @ goal)
