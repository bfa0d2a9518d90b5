"""Draw allocations that range from slight variations of the reference to extremes.

One concentration everywhere would miss half of what matters: near-uniform tilts are where good allocations
were found, and extreme allocations are where a predictor learns what very small options lose. A tilt, a
factor on what a slot costs, is drawn per slot, per kind, per block and along depth, each with its own
strength, because differences by kind and by depth carry most of the signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space.repair import fit_limits, sort_by_cost
from rankadaptor.space.tables import Ints, Tables

ENTRIES = 1 << 17
"""Entries of a chunk of rows: its arrays then stay in the processor's cache."""
WEAKEST, STRONGEST = 0.1, 2.5
"""Range of the tilts' strengths, as standard deviations of the logarithm of a slot's share."""
STEPPED_SHARE = 0.25
"""Share of rows that are the reference with single steps up and down, instead of a tilt."""
LEVELLINGS = 3

Floats = NDArray[np.float32]

QUANTILES: Floats = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], dtype=np.float32)
"""Of the standard normal law, one for each value of a byte."""


def draw_choices(
    tables: Tables,
    reference: Ints,
    count: int,
    *,
    bounds: Sequence[int],
    inside: Ints,
    generator: np.random.Generator,
) -> Ints:
    """Draw choices that keep all limits and use the first one up.

    Args:
        tables: The space as arrays.
        reference: `(n_slots,)` choices of an allocation in whose surroundings many rows lie.
        count: Number of rows.
        bounds: Largest totals allowed, of the first resources of `tables`.
        inside: `(n_slots,)` choices that keep all limits.
        generator: Source of randomness.

    Returns:
        `(count, n_slots)`; rows can repeat.
    """
    drawn = np.tile(reference, (count, 1))
    if not tables.searchable.size:
        return drawn
    rows = max(1, ENTRIES // len(reference))
    for start in range(0, count, rows):
        part = drawn[start : start + rows]
        stepped = generator.random(len(part)) < STEPPED_SHARE
        shares = _draw_tilts(tables, int((~stepped).sum()), generator=generator)
        if bounds:
            part[~stepped] = _choose_by_share(tables, reference, shares, bound=bounds[0])
        if tables.costless.size:
            part[~stepped] = _choose_costless(tables, reference, part[~stepped], shares, generator=generator)
        part[stepped] = _step_from_reference(tables, reference, int(stepped.sum()), generator=generator)
    return fit_limits(tables, drawn, bounds=bounds, inside=inside, generator=generator)


def _draw_tilts(tables: Tables, count: int, *, generator: np.random.Generator) -> Floats:
    """Draw factors on each slot's share, `(count, n_slots)`: log-normal, the sum of tilts of four origins."""

    def draw(columns: int) -> Floats:
        if columns == len(tables.kinds):  # by far the most numbers; quantiles of a byte are fine enough
            drawn = np.frombuffer(generator.bytes(count * columns), dtype=np.uint8)
            return QUANTILES.take(drawn).reshape(count, columns)
        return generator.standard_normal((count, columns), dtype=np.float32)

    strengths = np.exp(generator.uniform(np.log(WEAKEST), np.log(STRONGEST), size=(count, 4))).astype(
        np.float32
    )
    present = generator.random((count, 4)) < 0.5
    present[np.arange(count), generator.integers(4, size=count)] = True
    strengths = np.where(present, strengths, np.float32(0.0))
    tilt = draw(len(tables.kinds)) * strengths[:, :1]
    tilt += (draw(int(tables.kinds.max()) + 1) * strengths[:, 1:2])[:, tables.kinds]
    tilt += (draw(int(tables.blocks.max()) + 1) * strengths[:, 2:3])[:, tables.blocks]
    tilt += (draw(1) * strengths[:, 3:]) * tables.depth
    tilted: Floats = np.exp(tilt, out=tilt)
    return tilted


def _choose_by_share(tables: Tables, reference: Ints, shares: Floats, *, bound: int) -> Ints:
    """Choose the options nearest to given shares of the first limit; rows come out near it, not inside."""
    columns, costs = tables.columns, tables.costs[0]
    ranking, ascending = sort_by_cost(tables)
    fixed = costs[columns, tables.lowest]
    searched = tables.lowest < tables.highest
    bottom = np.where(searched, ascending[:, 0], fixed).astype(np.float32)
    top = np.where(searched, ascending[:, -1], fixed).astype(np.float32)
    second = np.where(searched, ascending[:, min(1, ascending.shape[1] - 1)], fixed)
    base = costs[columns, reference]
    wanted = shares * np.where(base > 0, base, second).astype(np.float64)  # the sums need this precision
    for _ in range(LEVELLINGS):  # what a slot cannot take goes to the others
        wanted = np.minimum(np.maximum(wanted, bottom), top)  # np.clip takes three times as long
        wanted *= np.float32(bound) / np.maximum(wanted.sum(axis=1, keepdims=True), np.float32(1e-6))
    places = np.zeros(wanted.shape, dtype=np.uint8 if tables.n_options < 256 else np.int64)
    middle = np.ascontiguousarray((ascending[:, 1:] + ascending[:, :-1]).T / 2, dtype=np.float32)
    for threshold in middle:
        places += wanted > threshold
    last = np.where(searched, tables.highest, 0).astype(places.dtype)
    places = np.minimum(places, last)
    nearest = places if ranking is None else ranking.ravel().take(places + columns * tables.n_options)
    chosen: Ints = np.where(searched, nearest, tables.lowest).astype(np.int64)
    return chosen


def _choose_costless(
    tables: Tables, reference: Ints, chosen: Ints, shares: Floats, *, generator: np.random.Generator
) -> Ints:
    """Choose options that no limit counts by their first coordinate.

    A third of the rows move only what a limit counts, a third only what none counts, a third both.
    """
    columns = tables.costless
    position = tables.coordinates[0, columns].astype(np.float32)
    position -= position[np.arange(columns.size), reference[columns]][:, None]
    between = np.exp((position[:, 1:] + position[:, :-1]) / 2)
    mixed = chosen.copy()
    mixed[:, columns] = (shares[:, columns, None] > between[None]).sum(axis=2)
    mixed = np.minimum(np.maximum(mixed, tables.lowest), tables.highest)
    third = generator.integers(3, size=len(mixed))
    mixed[np.ix_(third == 0, columns)] = reference[columns]
    others = np.setdiff1d(tables.columns, columns)
    mixed[np.ix_(third == 1, others)] = reference[others]
    return mixed


def _step_from_reference(
    tables: Tables, reference: Ints, count: int, *, generator: np.random.Generator
) -> Ints:
    """Move some slots of the reference one option up or down; how many differs from row to row."""
    half = generator.random((count, 1), dtype=np.float32) / 2
    drawn = generator.random((count, len(reference)), dtype=np.float32)
    moved = (drawn < half).astype(np.int8) - (drawn >= 1 - half).astype(np.int8)
    stepped: Ints = np.minimum(np.maximum(reference + moved, tables.lowest), tables.highest)
    return stepped
