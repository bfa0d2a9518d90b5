"""What the frontier has to show, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.frontier.rows import OURS, Row
from rankadaptor.results.table import Table, write_gain

TEXTS = {"loss_judging": "judging text", "loss_other": "text of another domain"}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a setting, and which stock files they are compared with.

    Attributes:
        stock: Limits at which stock files are the reference, and the margin over them.
        small: Limits below every stock file.
        largest: Bytes of the largest stock file that counts.
        free: A stock type that costs nothing because the dense weights lie on its grid; it does not count.
        faster: Limits on the time per token.
    """

    stock: Mapping[str, float]
    small: tuple[str, ...]
    largest: float
    free: str | None = None
    faster: tuple[str, ...] = ()


SMOLLM2 = Sizes({"90MB": 0.1, "75MB": 0.0}, ("60MB", "45MB"), 94e6, "Q4_1", ("0.7x",))
OTHERS: Mapping[str, Sizes] = {"mistral-12x96": Sizes({"1300KB": 0.0}, ("800KB",), 1.36e6)}
"""Sizes of settings other than SmolLM2-135M, by name."""

Test = Callable[[Row], bool]


def build_targets(rows: Sequence[Row]) -> Table:
    """Compare our files with the references that each target names, on both texts.

    A margin is the loss of the best reference minus ours, in nats per token. The file that a run delivers,
    recovered or not, is compared with all references, of which stock types are measured both ways. Files
    without recovery are compared with references without it as well.
    """
    lines = []
    for limit, wanted, name, is_reference in _list_targets(find_sizes(rows)):
        own = [row for row in rows if row["kind"] == OURS and row["limit"] == limit]
        delivered = [row for row in own if row["method"] == OURS]
        others = [row for row in rows if is_reference(row)]
        pairs = [("as delivered", delivered, others)]
        if any(row["kind"] == "stock" for row in others):
            found = [row for row in others if not row["recovered"]]
            pairs.append(("as delivered, stock files as they are found", delivered, found))
        pairs.append(
            (
                "not recovered",
                [row for row in own if not row["recovered"]],
                [row for row in others if not row["recovered"]],
            )
        )
        for state, ours, references in pairs:
            if not ours or not references:
                continue
            margins = [min(row[key] for row in references) - ours[0][key] for key in TEXTS]
            met = "yes" if min(margins) >= wanted else "no"
            lines.append((f"{limit}, {state}: {name}", write_gain(wanted), *map(write_gain, margins), met))
    return Table(
        name="targets",
        title="Margins over the references, in nats per token",
        header=("against", "target", *TEXTS.values(), "met"),
        rows=tuple(lines),
    )


def find_sizes(rows: Sequence[Row]) -> Sizes:
    """Return the sizes of the setting that rows belong to."""
    return OTHERS.get(rows[0]["setting"], SMOLLM2) if rows else SMOLLM2


def describe_stock(sizes: Sizes) -> str:
    """Name the stock files that count."""
    other = f", other than {sizes.free}" if sizes.free else ""
    return f"stock files up to {sizes.largest / 1e6:g} MB{other}"


def _is_stock(row: Row, sizes: Sizes) -> bool:
    free = sizes.free is not None and sizes.free in row["method"]
    return row["kind"] == "stock" and row["bytes"] <= sizes.largest and not free


def _list_targets(sizes: Sizes) -> list[tuple[str, float, str, Test]]:
    def is_stock(row: Row) -> bool:
        return _is_stock(row, sizes)

    def is_rule(limit: str, names: tuple[str, ...]) -> Test:
        return lambda row: row["limit"] == limit and str(row["method"]).startswith(names)

    targets: list[tuple[str, float, str, Test]] = [
        (limit, wanted, describe_stock(sizes), is_stock) for limit, wanted in sizes.stock.items()
    ]
    for limit in sizes.small:
        targets += [
            (limit, 0.2, "uniform widths", is_rule(limit, ("uniform",))),
            (limit, 0.05, "Taylor, FLAP, Block Influence", is_rule(limit, ("taylor", "flap", "block"))),
        ]
    for limit in (*sizes.stock, *sizes.small, *sizes.faster):
        targets.append((limit, 0.0, "widths first, types second", is_rule(limit, ("sequential",))))
    return targets


def find_speedup(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Compare speeds at the loss of the best stock file that counts.

    Returns:
        `reference`, `ours` (method names), `prompt` and `generate` (ratios of tokens per second); None where
        no file of ours is as good on both texts, or no speed was measured.
    """
    sizes = find_sizes(rows)
    stock = [row for row in rows if _is_stock(row, sizes) and row["prompt_tokens_per_second"]]
    if not stock:
        return None
    best = min(stock, key=lambda row: row["loss_judging"] + row["loss_other"])
    ours = [
        row
        for row in rows
        if row["kind"] == OURS
        and row["prompt_tokens_per_second"]
        and all(row[key] <= best[key] for key in TEXTS)
    ]
    if not ours:
        return None
    fastest = max(ours, key=lambda row: row["prompt_tokens_per_second"])
    return {
        "reference": best["method"],
        "ours": f"{fastest['method']} at {fastest['limit']}",
        "prompt": fastest["prompt_tokens_per_second"] / best["prompt_tokens_per_second"],
        "generate": fastest["generate_tokens_per_second"] / best["generate_tokens_per_second"],
    }
