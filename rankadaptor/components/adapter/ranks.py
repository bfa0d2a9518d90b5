"""The space of LoRA ranks of a pruned model.

A rank costs `in + out` parameters of its linear, which differs between pruned and intact blocks. The budget
is therefore an exact number of adapter parameters. `mode="rank_sum"` counts ranks instead, as the paper does
([RankAdaptor]_): a sum of ranks over the slots, with the unpruned blocks pinned.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

from rankadaptor.components.adapter.budgets import BudgetRequest, choose_budget
from rankadaptor.components.adapter.coordinates import RANK, compute_log_ratios
from rankadaptor.components.adapter.grouping import (
    Group,
    LinearLike,
    check_blocks,
    check_pins,
    group_linears,
)
from rankadaptor.defaults import SPACE
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Limit, Slot, Space

logger = logging.getLogger(__name__)

DEFAULT_RANKS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Small steps near common ranks, so that small changes of uniform are possible; 0 means no adapter."""


ADAPTER_PARAMETERS, RANKS = "adapter_parameters", "ranks"
"""Resources of an adapter: its parameters, and the sum of the ranks of its slots, as in the paper."""
MODES = {"parameters": ADAPTER_PARAMETERS, "rank_sum": RANKS}
"""The limited resource in each mode."""
UNIFORM = "uniform"
"""Name of the reference: the same rank everywhere but in pinned blocks."""


class RankSpace(Space):
    """All rank allocations of one model within one budget."""

    @classmethod
    def from_model(
        cls,
        model: Any,
        *,
        like_uniform: int | None = None,
        parameters: int | None = None,
        megabytes: float | None = None,
        slots: str = SPACE.slots,
        ranks: Sequence[int] | None = None,
        mode: str = SPACE.mode,
        pinned: Mapping[int, int] | None = None,
        blocks: tuple[int, int] | None = None,
    ) -> Self:
        """Build the space of a causal LM, pruned or not.

        Args:
            model: A Hugging Face causal LM of a supported family.
            like_uniform: Budget as the exact cost of this rank in every linear.
            parameters: Budget as a number of adapter parameters. It is lowered to the cost of the largest
                uniform rank within it, so that allocations and uniform have equal size.
            megabytes: Budget as megabytes (10^6 bytes) of adapter weights saved in float32, 4 bytes a
                parameter; lowered likewise.
            slots: Granularity of the ranks: `block` (the paper), `half_block` (attention, MLP) or `linear`.
            ranks: Ranks allowed. By default 20 ranks from 0 to 64, up to each slot's width, and the uniform
                rank.
            mode: Count the budget in `parameters`, or as `rank_sum` over slots for parity with the paper.
            pinned: Fixed ranks by block; they count towards the budget.
            blocks: First and last block (both inclusive) that carry adapters; default all.

        Raises:
            BudgetError: If no allocation meets the budget, or the uniform rank is not usable.
            InputError: If another argument is not usable.
        """
        from rankadaptor.model.families import describe_linears

        facts = getattr(model.config, "rankadaptor", None) or {}
        attributes = {
            int(entry["block"]): {
                "removed_share": float(entry.get("removed_share", 0.0)),
                "lost_importance": float(entry.get("lost_importance", 0.0)),
            }
            for entry in facts.get("blocks", [])
        }
        label = str(getattr(model.config, "model_type", "model"))
        label += f", pruning {facts['digest']}" if facts.get("digest") else ""
        return cls.from_linears(
            describe_linears(model),
            like_uniform=like_uniform,
            parameters=parameters,
            megabytes=megabytes,
            slots=slots,
            ranks=ranks,
            mode=mode,
            pinned=pinned,
            blocks=blocks,
            attributes=attributes,
            model=label,
        )

    @classmethod
    def from_linears(
        cls,
        linears: Sequence[LinearLike],
        *,
        like_uniform: int | None = None,
        parameters: int | None = None,
        megabytes: float | None = None,
        slots: str = SPACE.slots,
        ranks: Sequence[int] | None = None,
        mode: str = SPACE.mode,
        pinned: Mapping[int, int] | None = None,
        blocks: tuple[int, int] | None = None,
        attributes: Mapping[int, Mapping[str, float]] | None = None,
        model: str = "",
    ) -> Self:
        """Build the space from a description of the linears; see `from_model`.

        Args:
            linears: Name, block, kind and shape of every target linear.
            like_uniform: See `from_model`.
            parameters: See `from_model`.
            megabytes: See `from_model`.
            slots: See `from_model`.
            ranks: See `from_model`.
            mode: See `from_model`.
            pinned: See `from_model`.
            blocks: See `from_model`.
            attributes: Named numbers of each block, such as `removed_share`; kept in its slots.
            model: Short description of the model.

        Raises:
            BudgetError: If no allocation meets the budget, or the uniform rank is not usable.
            InputError: If another argument is not usable.
        """
        if mode not in MODES:
            raise InputError(f"mode={mode!r}: allowed are {', '.join(MODES)}.")
        n_blocks = max((linear.block for linear in linears), default=-1) + 1
        first, last = check_blocks(blocks, n_blocks)
        chosen = [linear for linear in linears if first <= linear.block <= last]
        groups = group_linears(chosen, slots=slots)
        pins = check_pins(pinned, groups, blocks=(first, last))
        request = BudgetRequest(like_uniform=like_uniform, parameters=parameters, megabytes=megabytes)
        options = _choose_options(groups, ranks, request=request, pins=pins)
        costs_per_rank = [group.parameters_per_rank if mode == "parameters" else 1 for group in groups]
        budget, rank = choose_budget(
            request, groups=groups, options=options, costs_per_rank=costs_per_rank, pins=pins, mode=mode
        )
        limited = MODES[mode]
        chosen_slots = tuple(
            make_rank_slot(
                name=group.name,
                modules=group.modules,
                sizes=menu,
                costs=tuple(rate * option for option in menu),
                limited=limited,
                reference=pins.get(group.block, rank),
                block=group.block,
                kind=group.kind,
                attributes=describe_group(group, n_blocks, (attributes or {}).get(group.block, {})),
                pinned=pins.get(group.block),
            )
            for group, menu, rate in zip(groups, options, costs_per_rank, strict=True)
        )
        origin = tuple(
            slot.find_choice(pins.get(group.block, rank))
            for slot, group in zip(chosen_slots, groups, strict=True)
        )
        space = cls(
            slots=chosen_slots,
            limits=(Limit(limited, budget),),
            references=((UNIFORM, origin),),
            model=model,
        )
        if sum(slot.costs_in(limited)[-1] for slot in space.slots) <= budget:
            logger.warning(
                "budget %s: every slot can take its largest rank at once, so there is nothing to search. "
                "Allow larger ranks or lower the budget.",
                f"{budget:,}",
            )
        return space


def make_rank_slot(
    *,
    name: str,
    modules: tuple[str, ...],
    sizes: tuple[int, ...],
    costs: tuple[int, ...],
    limited: str,
    reference: int,
    block: int,
    kind: str,
    attributes: Mapping[str, float],
    pinned: int | None = None,
) -> Slot:
    """Return a slot whose options are ranks.

    Args:
        name: See `Slot`.
        modules: Full names of the linears that share the rank.
        sizes: The ranks, ascending.
        costs: One per rank, in the resource that is limited; they must rise with the rank.
        limited: That resource, `ADAPTER_PARAMETERS` or `RANKS`.
        reference: Uniform's rank.
        block: See `Slot`.
        kind: See `Slot`.
        attributes: Named numbers, `parameters_per_rank` among them.
        pinned: The one rank that the slot always takes.

    Raises:
        InputError: If ranks or costs do not rise, or a rank is below 0.
    """
    for what, numbers in (("ranks", sizes), ("costs", costs)):
        if not numbers or numbers[0] < 0 or any(low >= high for low, high in itertools.pairwise(numbers)):
            raise InputError(
                f"slot {name!r}: {what} {numbers}. They must be whole numbers ≥ 0, distinct and ascending."
            )
    if pinned is not None and pinned not in sizes:
        raise InputError(f"slot {name!r}: pinned at {pinned}; allowed are {sizes}.")
    if len(costs) != len(sizes):
        raise InputError(f"slot {name!r}: {len(sizes)} ranks and {len(costs)} costs. Give one for each.")
    rate = int(attributes.get("parameters_per_rank", 0.0))
    counted = {ADAPTER_PARAMETERS: tuple(rate * size for size in sizes), RANKS: sizes, limited: costs}
    described = {
        **attributes,
        "cost_per_unit": (costs[-1] - costs[0]) / max(sizes[-1] - sizes[0], 1),
        "reference": float(reference),
    }
    return Slot(
        name=name,
        component=RANK,
        modules=modules,
        options=sizes,
        costs=tuple(counted.items()),
        coordinates=compute_log_ratios(sizes, reference=reference),
        block=block,
        kind=kind,
        attributes=tuple(sorted(described.items())),
        pinned=None if pinned is None else sizes.index(pinned),
    )


def _choose_options(
    groups: Sequence[Group], ranks: Sequence[int] | None, *, request: BudgetRequest, pins: Mapping[int, int]
) -> list[tuple[int, ...]]:
    if ranks is None:
        common = set(DEFAULT_RANKS)
        width = min(group.width for group in groups)
        rates = sum(group.parameters_per_rank for group in groups)
        wanted = request.find_rank(rates)
        if 1 <= wanted <= width:
            common.add(wanted)
    else:
        faulty = [rank for rank in ranks if not _is_rank(rank)]
        common = {int(rank) for rank in ranks} if not faulty else set()
        if faulty or not common:
            raise BudgetError(
                f"ranks={tuple(ranks)}: allowed are whole numbers ≥ 0, at least one of them. Leave ranks out "
                "for the default, 0 to 64."
            )
        free = [group for group in groups if group.block not in pins]
        narrowest = min(free, key=lambda group: group.width)
        if max(common) > narrowest.width:
            raise BudgetError(
                f"rank {max(common)} in ranks={tuple(ranks)}: slot {narrowest.name!r} allows at most "
                f"{narrowest.width}, the smaller side of its narrowest linear. Leave larger ranks out, or "
                "leave `ranks` out for a default limited to each slot's width."
            )
    options = []
    for group in groups:
        menu = {rank for rank in common if rank <= group.width}
        menu |= {pins[group.block]} if group.block in pins else set()
        options.append(tuple(sorted(menu)))
    return options


def _is_rank(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 0


def describe_group(group: Group, n_blocks: int, block_facts: Mapping[str, float]) -> dict[str, float]:
    """Return the attributes of a slot of ranks, with those of its block."""
    return {
        "depth": group.block / max(n_blocks - 1, 1),
        "in_features": group.mean_in_features,
        "out_features": group.mean_out_features,
        "parameters_per_rank": float(group.parameters_per_rank),
        "linears": float(len(group.modules)),
        **{name: float(value) for name, value in block_facts.items()},
    }
