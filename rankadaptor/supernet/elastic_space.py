"""The space of a super-network: a width for each half of a block, and a rank for the adapters on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rankadaptor.components.adapter import ADAPTER_PARAMETERS
from rankadaptor.components.adapter.grouping import group_linears
from rankadaptor.components.adapter.ranks import describe_group, make_rank_slot
from rankadaptor.components.composition import build_space
from rankadaptor.components.composition.building import WIDTH_TYPE
from rankadaptor.components.composition.costs import LatencyModel
from rankadaptor.components.depth import is_dropped
from rankadaptor.defaults import ELASTIC
from rankadaptor.errors import InputError
from rankadaptor.model.families import describe_linears
from rankadaptor.space import Slot, Space

MIDDLE = "middle"
"""Name of the reference with the middle option of every slot: the heuristic sub-network of [LoNAS]_."""
RANK_SUFFIX = ".rank"
LEFT_OUT = "halves_left_out"
"""Resource: the number of attentions and MLPs that are dropped."""


def build_elastic_space(
    model: Any,
    *,
    ranks: Sequence[int] = ELASTIC.ranks,
    rank_slots: str = ELASTIC.rank_slots,
    width: bool = True,
    attention: bool = False,
    depth: bool = False,
    levels: int = ELASTIC.levels,
    smallest: float = ELASTIC.smallest,
    kind: str = ELASTIC.type,
    embedding: str | None = None,
    limits: Mapping[str, str | float] | None = None,
    tokenizer: Any = None,
    latency_model: LatencyModel | None = None,
) -> Space:
    """Build the space of a super-network.

    Its slots are those of `build_space` with one type of weights, and for each group of linears a slot of
    adapter ranks, such as `block3.mlp.rank`. Adapter parameters are counted at the whole width of a half, so
    they are an upper bound where widths are elastic too; a merged adapter costs nothing else.

    References: `dense`, everything whole with the largest ranks, and `middle`, the middle option of every
    slot, the larger one of two.

    Args:
        model: A supported causal language model without adapters.
        ranks: Ranks that may be chosen; 0 leaves an adapter out.
        rank_slots: What shares a rank: `block`, `half_block` or `linear`.
        width: Whether MLPs may become narrower.
        attention: Whether attentions may have fewer KV groups.
        depth: Whether attentions and MLPs may be dropped.
        levels: Number of equal parts of an MLP that its widths are multiples of.
        smallest: Smallest width as a share of the whole one.
        kind: Type of all weights in the file whose bytes are counted.
        embedding: Type of the embedding and the output head in it; as `kind` if None.
        limits: See `build_space`.
        tokenizer: See `build_space`.
        latency_model: See `build_space`.

    Raises:
        InputError: If an argument is not usable, or `kind` does not fit a width.
        BudgetError: If no allocation keeps the limits.
    """
    if not 0 < smallest <= 1:
        raise InputError(f"smallest={smallest}: give a share of the whole width, above 0 and at most 1.")
    if not ranks or max(ranks) < 1:
        raise InputError(f"ranks={tuple(ranks)}: give at least one rank above 0, such as {ELASTIC.ranks}.")
    base = build_space(
        model, width=width, attention=attention, depth=depth, precision=kind, embedding=embedding,
        limits=limits, tokenizer=tokenizer, latency_model=latency_model, levels=levels,
    )  # fmt: skip
    halves = [_leave_narrow_out(slot, smallest=smallest) for slot in base.slots]
    if depth:
        halves = [_count_left_out(slot) for slot in halves]
    slots = (*halves, *_make_rank_slots(model, tuple(sorted(set(ranks))), rank_slots=rank_slots))
    return Space(
        slots=slots,
        limits=base.limits,
        references=(
            (base.references[0][0], tuple(len(slot.options) - 1 for slot in slots)),
            (MIDDLE, tuple(_find_middle(slot) for slot in slots)),
        ),
        model=base.model,
    )


def _make_rank_slots(model: Any, ranks: tuple[int, ...], *, rank_slots: str) -> list[Slot]:
    linears = describe_linears(model)
    groups = group_linears(linears, slots=rank_slots)
    blocks = max(linear.block for linear in linears) + 1
    narrowest = min(groups, key=lambda group: group.width)
    if max(ranks) > narrowest.width:
        raise InputError(
            f"rank {max(ranks)}: {narrowest.name} allows at most {narrowest.width}, the smaller side of its "
            "narrowest linear. Leave larger ranks out."
        )
    return [
        make_rank_slot(
            name=group.name + RANK_SUFFIX,
            modules=group.modules,
            sizes=ranks,
            costs=tuple(group.parameters_per_rank * rank for rank in ranks),
            limited=ADAPTER_PARAMETERS,
            reference=max(ranks),
            block=group.block,
            kind=group.kind + RANK_SUFFIX,
            attributes=describe_group(group, blocks, {}),
        )
        for group in groups
    ]


def _count_left_out(slot: Slot) -> Slot:
    left_out = tuple(int(is_dropped(option)) for option in slot.options)
    return dataclasses.replace(slot, costs=(*slot.costs, (LEFT_OUT, left_out))) if any(left_out) else slot


def _leave_narrow_out(slot: Slot, *, smallest: float) -> Slot:
    if slot.component != WIDTH_TYPE:
        return slot
    widths = [option[0] if isinstance(option, tuple) else 0 for option in slot.options]
    full = int(widths[-1])
    kept = [
        number
        for number, (option, width) in enumerate(zip(slot.options, widths, strict=True))
        if is_dropped(option) or int(width) >= smallest * full or number == len(widths) - 1
    ]
    return dataclasses.replace(
        slot,
        options=tuple(slot.options[number] for number in kept),
        costs=tuple((name, tuple(costs[number] for number in kept)) for name, costs in slot.costs),
        coordinates=tuple(slot.coordinates[number] for number in kept),
    )


def _find_middle(slot: Slot) -> int:
    """Return the middle of the options that leave nothing out, the larger one of two."""
    present = [number for number, option in enumerate(slot.options) if not is_dropped(option)]
    return present[len(present) // 2]
