"""Linears of small models with uneven pruning, and the spaces that the tests draw from."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from rankadaptor.components.adapter import RankSpace
from rankadaptor.space import Limit, Slot, Space


@dataclass(frozen=True)
class Linear:
    name: str
    block: int
    kind: str
    in_features: int
    out_features: int


def build_linears(blocks: int = 4, *, hidden: int = 48, pruned: tuple[int, ...] = (1, 2)) -> list[Linear]:
    """Seven linears a block; pruned blocks have half the heads and a third of the channels."""
    linears = []
    for block in range(blocks):
        heads = hidden // 2 if block in pruned else hidden
        channels = hidden if block in pruned else 3 * hidden
        shapes = {
            "self_attn.q_proj": (hidden, heads),
            "self_attn.k_proj": (hidden, heads // 2),
            "self_attn.v_proj": (hidden, heads // 2),
            "self_attn.o_proj": (heads, hidden),
            "mlp.gate_proj": (hidden, channels),
            "mlp.up_proj": (hidden, channels),
            "mlp.down_proj": (channels, hidden),
        }
        for path, (inside, outside) in shapes.items():
            name = f"model.layers.{block}.{path}"
            linears.append(Linear(name, block, path.partition(".")[2], inside, outside))
    return linears


@st.composite
def rank_spaces(draw: st.DrawFn) -> RankSpace:
    """Spaces of all granularities, modes, menus, pins and budgets."""
    blocks = draw(st.integers(2, 6))
    pruned = draw(st.sets(st.integers(0, blocks - 1)))
    linears = build_linears(blocks, pruned=tuple(pruned))
    mode = draw(st.sampled_from(["parameters", "rank_sum"]))
    ranks = draw(st.none() | st.sets(st.integers(0, 12), min_size=2, max_size=6).map(sorted))
    positive = [rank for rank in ranks or range(1, 9) if 0 < rank <= 12]
    pinned = draw(st.dictionaries(st.integers(0, blocks - 1), st.integers(0, 4), max_size=blocks - 1))
    rank = draw(st.sampled_from(positive))
    budget: dict[str, int] = {"like_uniform": rank}
    if any(pin > rank for pin in pinned.values()):
        pinned = {}
    if mode == "parameters" and draw(st.booleans()):
        costs = sum(linear.in_features + linear.out_features for linear in linears)
        largest_pin = max(pinned.values(), default=0)
        budget = {"parameters": costs * max(rank, largest_pin) + draw(st.integers(0, costs))}
    return RankSpace.from_linears(
        linears,
        slots=draw(st.sampled_from(["block", "half_block", "linear"])),
        ranks=ranks,
        mode=mode,
        pinned=pinned,
        **budget,
    )


@st.composite
def table_spaces(draw: st.DrawFn) -> Space:
    """Spaces whose costs are arbitrary tables, in any order, under one limit or two."""
    slots = []
    resources = draw(st.sampled_from([("bytes",), ("bytes", "latency")]))
    for index in range(draw(st.integers(1, 6))):
        options = sorted(draw(st.sets(st.integers(0, 100), min_size=1, max_size=5)))
        origin = draw(st.integers(0, len(options) - 1))
        costs = st.lists(st.integers(0, 500), min_size=len(options), max_size=len(options)).map(tuple)
        slots.append(
            Slot(
                name=f"slot{index}",
                component="table",
                modules=(f"module{index}",),
                options=tuple(options),
                costs=tuple((resource, draw(costs)) for resource in resources),
                coordinates=tuple((float(option - options[origin]),) for option in options),
                block=index // 2,
                kind=draw(st.sampled_from(["width", "depth"])),
                pinned=origin if draw(st.booleans()) and draw(st.booleans()) else None,
            )
        )
    origin = tuple(slot.coordinates.index((0.0,)) for slot in slots)
    limits = tuple(
        Limit(
            resource,
            sum(slot.costs_in(resource)[choice] for slot, choice in zip(slots, origin, strict=True))
            + draw(st.integers(0, 300)),
        )
        for resource in resources
    )
    return Space(slots=tuple(slots), limits=limits, references=(("origin", origin),))


SPACES = rank_spaces() | table_spaces()
