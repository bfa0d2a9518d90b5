"""The space of a model: for each half of a block a width and a type, for embedding and output a type."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rankadaptor.components.composition.costs import (
    BYTES,
    GENERATE,
    MACS,
    MACS_LENGTH,
    PARAMETERS,
    PROMPT,
    End,
    FileCosts,
    LatencyModel,
    Stored,
    count_fixed_parameters,
    describe_ends,
    plan_costs,
)
from rankadaptor.components.composition.limits import read_limits
from rankadaptor.components.depth import DROPPED
from rankadaptor.components.precision import Format, choose_formats, measure_rounding
from rankadaptor.components.width import LEVELS, Half, choose_widths, describe_halves
from rankadaptor.errors import InputError
from rankadaptor.model.families import ATTENTION
from rankadaptor.space import Label, Slot, Space

logger = logging.getLogger(__name__)

PRECISION = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""Types that fit every width that is a multiple of 32."""
WIDTH_TYPE, TYPE, FIXED = "width_and_precision", "precision", "fixed"
"""Components: a width and a type together, a type alone, and what no choice changes."""
LATENCIES = (PROMPT, GENERATE)
Costs: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
NOTHING = Stored(0, ())
DENSE = "dense"
"""Name of the first reference: everything is kept, in the type of most bits."""


def build_space(
    model: Any,
    *,
    width: bool = True,
    attention: bool = True,
    depth: bool = True,
    precision: Sequence[str] | str = PRECISION,
    embedding: Sequence[str] | str | None = None,
    limits: Mapping[str, str | float] | None = None,
    tokenizer: Any = None,
    latency_model: LatencyModel | None = None,
    levels: int = LEVELS,
    context: int | None = None,
) -> Space:
    """Build the space of widths, depth and precision of a causal language model.

    Slots, in this order: `fixed` (what no choice changes), `embedding`, for each block `block3.attention`
    with options `(KV groups, type)` and `block3.mlp` with options `(channels, type)`, and `output` where the
    output head is not the embedding. A dropped half is `(0, "none")`. Costs are sums over slots: `parameters`
    as `describe_model` counts them, `macs` of one token in a sequence of 64, `bytes` of the GGUF file that
    `write_gguf` makes, and with a latency model `prompt_nanoseconds` and `generate_nanoseconds` of one token.
    Models that GGUF cannot express have no `bytes`.
    The first reference is `dense`: everything is kept, each slot in its type of most bits.

    Args:
        model: A supported causal language model, pruned or not, without adapters.
        width: Whether MLPs may become narrower.
        attention: Whether attentions may have fewer KV groups.
        depth: Whether attentions and MLPs may be dropped.
        precision: Types of attention and MLP, each for all linears of its half: types of the engine, or
            affine grids such as `A4G32`. A type that does not fit the inputs of a linear is left out for that
            width.
        embedding: Types of the embedding and the output head; by default as `precision`.
        limits: Resource → upper bound: `{"bytes": "60 MB"}`, `{"parameters": "80%"}`, `{"latency": "0.7x"}`,
            or a number.
        tokenizer: The model's tokenizer, which the file holds too; without it, `bytes` lack its entries.
        latency_model: Time of each part on the engine; needed to limit the latency.
        levels: Number of MLP widths that are tried, the whole one included.
        context: Longest text in tokens that the file tells the engine; see `write_gguf`.

    Raises:
        InputError: If a type, a resource or a limit cannot be read, or no type fits a linear.
        BudgetError: If no allocation keeps the limits; the message names the nearest limit that is possible.
    """
    formats = choose_formats(precision, what="precision")
    end_formats = formats if embedding is None else choose_formats(embedding, what="embedding")
    halves, ends = describe_halves(model), describe_ends(model)
    blocks = max((half.block for half in halves), default=0) + 1
    file, missing = _plan_file(model, tokenizer, context=context, asked=BYTES in (limits or {}))
    pricing = Pricing(file, latency_model)
    slots = [_make_fixed(count_fixed_parameters(model, halves, ends), pricing)]
    slots += [_make_end(end, end_formats, pricing, blocks=blocks) for end in ends[:1]]
    for half in halves:
        widths = choose_widths(
            half, cut=attention if half.kind == ATTENTION else width, drop=depth, levels=levels
        )
        slots.append(_make_half(half, widths, formats, pricing, blocks=blocks))
    slots += [_make_end(end, end_formats, pricing, blocks=blocks) for end in ends[1:]]
    origin = [len(slot.options) - 1 for slot in slots]
    return Space(
        slots=tuple(slots),
        limits=read_limits(limits, slots, origin, missing=missing),
        references=((DENSE, tuple(origin)),),
        model=_name_model(model),
    )


@dataclass(frozen=True)
class Pricing:
    """What counts bytes and time; None where they are not counted."""

    file: FileCosts | None
    latency: LatencyModel | None

    def count(self, part: str, stored: Sequence[Stored], *, heads: Sequence[int]) -> Costs:
        """Return bytes and nanoseconds of options, by what each puts into the file."""
        costs: Costs = ((BYTES, tuple(each.bytes for each in stored)),) if self.file is not None else ()
        if self.latency is None:
            return costs
        times = [
            self.latency.time_part(part, each.matrices, heads=count)
            for each, count in zip(stored, heads, strict=True)
        ]
        return costs + tuple((name, tuple(round(time[name]) for time in times)) for name in LATENCIES)


def _plan_file(
    model: Any, tokenizer: Any, *, context: int | None, asked: bool
) -> tuple[FileCosts | None, dict[str, str]]:
    try:
        file = plan_costs(model, tokenizer, context=context)
    except InputError as error:
        logger.info("the bytes of a file are not counted: %s", error)
        return None, {BYTES: str(error)}
    if tokenizer is None and asked:
        logger.warning("bytes lack the tokenizer's entries in the file: give build_space the tokenizer")
    return file, {}


def _make_half(
    half: Half, widths: Sequence[int], formats: Sequence[Format], pricing: Pricing, *, blocks: int
) -> Slot:
    options: list[tuple[int, Format | None]] = []
    for width in widths:
        if not width:
            options.append((0, None))
            continue
        options += [(width, kind) for kind in formats if find_misfit(half, width, kind) is None]
    _tell_misfits(half, widths, formats)
    largest = options[-1][1]
    if options[-1][0] != half.full or largest is None:
        misfits = {find_misfit(half, half.full, kind) for kind in formats}
        raise InputError(
            f"{half.name}: none of the types {', '.join(kind.name for kind in formats)} fits its linears "
            f"({'; '.join(sorted(str(each) for each in misfits))}). Add F16, which fits any width."
        )
    parameters = tuple(half.count_parameters(width) for width, _ in options)
    stored = [
        pricing.file.store_half(half, width, kind) if pricing.file is not None else NOTHING
        for width, kind in options
    ]
    heads = [width * half.query_heads for width, _ in options]
    return Slot(
        name=half.name,
        component=WIDTH_TYPE,
        modules=tuple(part.name for part in half.parts),
        options=tuple(_label(width, kind) for width, kind in options),
        costs=(
            *pricing.count(half.kind, stored, heads=heads),
            (PARAMETERS, parameters),
            (MACS, tuple(half.count_macs(width, length=MACS_LENGTH) for width, _ in options)),
        ),
        coordinates=tuple(
            (width / half.full - 1, -float(kind is None), *_compare(kind or largest, largest))
            for width, kind in options
        ),
        block=half.block,
        kind=half.kind,
        attributes=(
            ("depth", half.block / max(blocks - 1, 1)),
            ("parameters", float(parameters[-1])),
            ("width", float(half.full)),
        ),
    )


def find_misfit(half: Half, width: int, kind: Format) -> str | None:
    """Say which linear of a half a type does not fit at a width; None if it fits all."""
    for part in half.parts:
        columns = part.shape(width)[1]
        if not kind.allows(columns):
            return f"{part.name} has {columns} inputs, {kind.name} needs a multiple of {kind.block}"
    return None


def _tell_misfits(half: Half, widths: Sequence[int], formats: Sequence[Format]) -> None:
    if half.block:
        return  # said once, for the first block
    for kind in formats:
        misfits = {width: find_misfit(half, width, kind) for width in widths if width}
        if left_out := [width for width, why in misfits.items() if why is not None]:
            unit = "KV groups" if half.kind == ATTENTION else "channels"
            logger.warning(
                "%s is not offered for %s of %s %s: %s", kind.name, half.kind,
                " or ".join(map(str, left_out)), unit, misfits[left_out[0]],
            )  # fmt: skip


def _make_end(end: End, formats: Sequence[Format], pricing: Pricing, *, blocks: int) -> Slot:
    kinds = [kind for kind in formats if kind.allows(end.columns)]
    if not kinds:
        raise InputError(
            f"{end.name}: none of the types {', '.join(kind.name for kind in formats)} fits rows of "
            f"{end.columns}. Add F16, which fits any width."
        )
    count, last = len(kinds), end.name == "output"
    stored = [pricing.file.store_end(end, kind) if pricing.file is not None else NOTHING for kind in kinds]
    return Slot(
        name=end.name,
        component=TYPE,
        modules=(end.module,),
        options=tuple(kind.name for kind in kinds),
        costs=(
            *pricing.count("output" if end.multiplied else "embedding", stored, heads=[0] * count),
            (PARAMETERS, (end.parameters,) * count),
            (MACS, (end.rows * end.columns * end.multiplied,) * count),
        ),
        coordinates=tuple(_compare(kind, kinds[-1]) for kind in kinds),
        block=blocks - 1 if last else 0,
        kind=end.name,
        attributes=(("depth", float(last)), ("parameters", float(end.rows * end.columns))),
    )


def _make_fixed(parameters: int, pricing: Pricing) -> Slot:
    stored = Stored(pricing.file.fixed, ()) if pricing.file is not None else NOTHING
    return Slot(
        name=FIXED,
        component=FIXED,
        modules=(),
        options=("kept",),
        costs=(*pricing.count(FIXED, [stored], heads=[0]), (PARAMETERS, (parameters,)), (MACS, (0,))),
        coordinates=((0.0,),),
        block=0,
        kind=FIXED,
        pinned=0,
    )


def _label(width: int, kind: Format | None) -> Label:
    return DROPPED if kind is None else (width, kind.name)


def _compare(kind: Format, largest: Format) -> tuple[float, float]:
    """Return the bits and the rounding of a type relative to those of the reference."""
    bits = math.log2(kind.bits / largest.bits)
    return bits, measure_rounding(kind.name) - measure_rounding(largest.name)


def _name_model(model: Any) -> str:
    facts = getattr(model.config, "rankadaptor", None) or {}
    label = str(getattr(model.config, "model_type", "model"))
    return label + (f", pruning {facts['digest']}" if facts.get("digest") else "")
